"""A training set's probe: κ along its mean loss, by finite differences, and where a step raises the loss."""

from __future__ import annotations

import json
import math
import statistics

import pytest
import torch

from phantom_dist.core.probe_result import Measured, Refused, SetProbe
from phantom_dist.core.schedule import Schedule
from phantom_dist.core.training_set import TrainingSet
from phantom_dist.core.trial import Context, Lora, Optimizer, Problem
from phantom_dist.engines.probe import probe
from phantom_dist.engines.set_probe import probe_for_search, probe_on_set
from phantom_dist.engines.trainable import trainable
from phantom_dist.engines.training_sets import TrainingSets, losses
from phantom_dist.instruments.effective_steps import effective_steps
from phantom_dist.instruments.kernel_rate import first_direction
from phantom_dist.models.last_logits import last_logits
from phantom_dist.models.load import load
from phantom_dist.records import probe_result_from_row, probe_row

from .problems import CONTEXTS

WATCHED = [context for context in CONTEXTS.values() if context.id in ("guilt", "happy", "street")]
EXAMPLES = [
    json.dumps({"prompt": c.text, "completion": f"{c.target}{end}"})
    for c in CONTEXTS.values()
    for end in (".", " and cried.")
]
SETS = TrainingSets(lambda sha256: EXAMPLES)


def problems(
    method: str, optimizer: str, *, contexts=WATCHED, steps: int = 6, batch_size: int = 4, **more
) -> list[Problem]:
    training = TrainingSet(data="0" * 64, loss="completion", batch_size=batch_size, words=9, max_length=64)
    return [
        Problem(
            model="zoo:gpt2-a",
            context=context,
            method=method,
            lora=Lora(rank=4, alpha=8) if method == "lora" else None,
            optimizer=Optimizer(name=optimizer),
            steps=steps,
            training=training,
            **more,
        )
        for context in contexts
    ]


@pytest.fixture(scope="module")
def loaded():
    return load("zoo:gpt2-a")


def rate_of_gap(loaded, problem: Problem, measured: Measured) -> float:
    """κ by a difference of the gap along the first step on the mean of all steps' losses, in float64."""
    of = SETS.batches(loaded, problem)
    assert of is not None
    factors = problem.schedule.factors(problem.steps)
    pair = measured.tokens
    with trainable(loaded, problem) as ready:
        model = ready.model.double()
        try:
            total = sum(
                factor * part()
                for step, factor in enumerate(factors)
                for part in losses(model, of[step], 1, torch.device("cpu"))
            ) / sum(factors)
            gradients = torch.autograd.grad(total, ready.parameters, materialize_grads=True)
            before = [parameter.detach().clone() for parameter in ready.parameters]

            def gap(distance: float) -> float:
                for parameter, origin, gradient in zip(ready.parameters, before, gradients, strict=True):
                    direction = first_direction(gradient, origin, problem.optimizer)
                    parameter.data = origin - distance * direction
                with torch.no_grad():
                    logits = last_logits(model, pair.prompt)
                return float(logits[pair.target] - logits[pair.competitor])

            h = 1e-6
            return (gap(h) - gap(-h)) / (2 * h)
        finally:
            for parameter, origin in zip(ready.parameters, before, strict=True):
                parameter.data = origin
            ready.model.float()


@pytest.mark.parametrize("schedule", ["constant", "linear"])
@pytest.mark.parametrize("kind", ["full sgd", "lora adamw"])
def test_kappa_is_the_gaps_rate_along_the_trainings_mean_loss(kind, schedule):
    """Here the budget pays for every example, so the sample is the training itself."""
    loaded = load("zoo:gpt2-a")
    own = problems(*kind.split(), schedule=Schedule(name=schedule))
    words, measured = probe_on_set(loaded, own, SETS)
    assert measured.examples == len(EXAMPLES) or measured.examples == own[0].steps * 4
    for problem, word in zip(own, words, strict=True):
        assert isinstance(word, Measured)
        # AdamW's u is the sign of gradients that float32 knows to some 1e-6 of the largest.
        assert word.kappa == pytest.approx(rate_of_gap(loaded, problem, word), rel=2e-3)


@pytest.mark.parametrize("kind", ["full sgd", "full adamw", "lora adamw"])
def test_what_a_law_needs(loaded, kind):
    own = problems(*kind.split())
    words = probe_on_set(loaded, own, SETS)[0]
    last = [w.on_set.learning_rates[-1] for w in words if w.kappa > 0]
    for problem, word in zip(own, words, strict=True):
        assert isinstance(word, Measured)
        assert word.on_set is not None
        assert word.on_set.kappa == word.kappa
        assert math.isfinite(word.on_set.reach)
        assert 0 < word.on_set.share < 1
        assert word.on_set.drawn >= 1
        assert word.on_set.reach > 0
        assert word.trial_steps == word.on_set.trial_steps
        if word.kappa > 0:
            steps = effective_steps(problem.steps, problem.schedule, problem.optimizer)
            assert word.on_set.learning_rates[0] == pytest.approx(-word.gap_0 / word.kappa / steps)
            assert len(word.on_set.learning_rates) == (2 if problem.method == "lora" else 1)
        else:
            assert word.on_set.learning_rates == (statistics.median(last),)


def test_a_word_whose_gap_the_first_step_widens_has_the_estimate_of_the_others(loaded):
    """The data teach its competitor."""
    unlearnt = WATCHED[-1]
    assert unlearnt.competitor is not None
    turned = [
        json.dumps({"prompt": c.text, "completion": f"{c.competitor if c is unlearnt else c.target}{end}"})
        for c in WATCHED
        for end in (".", " and cried.")
    ]
    found = probe_on_set(loaded, problems("full", "sgd"), TrainingSets(lambda sha256: turned))[0]
    *rising, falling = found
    assert falling.kappa <= 0
    assert all(word.kappa > 0 for word in rising)
    others = statistics.median(word.on_set.learning_rates[-1] for word in rising)
    assert falling.on_set.learning_rates == (others,)
    assert 0 < falling.on_set.reach < math.inf

    alone = problems("full", "sgd", contexts=[unlearnt])
    assert probe_on_set(loaded, alone, TrainingSets(lambda sha256: turned))[0][0].on_set.learning_rates == ()


@pytest.mark.parametrize("kind", ["full sgd", "lora adamw"])
def test_a_search_keeps_the_kappa_that_does_not_depend_on_other_words(loaded, kind):
    """Equal trials have equal κ, whatever is watched beside them; only where the search starts may differ."""
    own = problems(*kind.split())
    alone = [probe(loaded, problem, SETS) for problem in own]
    together = probe_for_search(loaded, own, SETS)
    predicted = probe_on_set(loaded, own, SETS)[0]
    for one, found, word in zip(alone, together, predicted, strict=True):
        assert isinstance(found, Measured)
        assert found.kappa == one.kappa
        assert found.on_set is not None
        assert found.on_set.learning_rates == word.on_set.learning_rates
        assert found.trial_steps == pytest.approx(word.trial_steps + Measured.PROBE_STEPS)
        assert probe_result_from_row(probe_row(found), found.problem) == found


def test_the_cost_is_within_the_budget(loaded):
    """Of eight steps, or of a twentieth of a long training; a backward pass for each word comes on top."""
    for steps in (6, 40, 400):
        own = problems("full", "sgd", steps=steps)
        probed, measured = probe_on_set(loaded, own, SETS)
        budget = max(SetProbe.STEPS, SetProbe.SHARE * steps)
        words = len(own)  # of some ten tokens each, as an example of a step has
        assert measured.steps <= budget + words + 1
        assert sum(word.trial_steps for word in probed) == pytest.approx(measured.steps)


@pytest.mark.parametrize("kind", ["full sgd", "full adamw", "lora adamw"])
def test_a_step_above_the_rate_of_rise_raises_the_loss_and_one_below_lowers_it(loaded, kind):
    own = problems(*kind.split(), contexts=WATCHED[:1], batch_size=16)
    rise = probe_on_set(loaded, own, SETS)[1].rate_of_rise
    assert rise is not None
    of = SETS.batches(loaded, own[0])
    assert of is not None
    with trainable(loaded, own[0]) as ready:
        before = [parameter.detach().clone() for parameter in ready.parameters]

        def loss() -> torch.Tensor:
            parts = [p() for step in range(6) for p in losses(ready.model, of[step], 1, torch.device("cpu"))]
            return torch.stack(parts).mean()

        start = loss()
        gradients = torch.autograd.grad(start, ready.parameters, materialize_grads=True)

        def after(rate: float) -> float:
            for parameter, origin, gradient in zip(ready.parameters, before, gradients, strict=True):
                parameter.data = origin - rate * first_direction(gradient, origin, own[0].optimizer)
            with torch.no_grad():
                return float(loss())

        # A few examples find it, so it is that of the whole set to a factor.
        assert after(rise / 4) < float(start) < after(4 * rise)
        for parameter, origin in zip(ready.parameters, before, strict=True):
            parameter.data = origin


def test_the_model_is_untouched_afterwards(loaded):
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    for kind in ("full adamw", "lora adamw"):
        probe_on_set(loaded, problems(*kind.split()), SETS)
    after = loaded.model.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_a_refused_word_stays_refused_and_the_others_are_measured(loaded):
    known = Context(
        id="known", text=WATCHED[0].text, target=WATCHED[0].competitor, competitor=WATCHED[0].target
    )
    unreadable = Context(id="long", text=WATCHED[0].text, target=" antidisestablishment", competitor=" guilt")
    words, _ = probe_on_set(loaded, problems("full", "sgd", contexts=[known, unreadable, *WATCHED]), SETS)
    kinds = [type(word) for word in words]
    assert kinds == [Refused, Refused, *[Measured] * len(WATCHED)]
