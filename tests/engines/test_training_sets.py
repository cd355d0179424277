"""Training on batches: the reference against a plain loop, lanes against the reference, and what changes nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from phantom_dist.core.measurement import Trial, TrialResult
from phantom_dist.core.probe_result import Measured
from phantom_dist.core.schedule import Schedule
from phantom_dist.core.training_set import TrainingSet
from phantom_dist.core.trial import Lora, Optimizer, Problem
from phantom_dist.engines.lanes.isolation import may_pack
from phantom_dist.engines.lanes.set_training import packing_pays
from phantom_dist.engines.probe import probe
from phantom_dist.engines.training_sets import TrainingSets
from phantom_dist.models.load import LoadedModel, load
from phantom_dist.models.zoo.architectures import ZOO

from .problems import CONTEXTS, engine_for

WATCHED = list(CONTEXTS.values())[:3]
EXAMPLES = [
    json.dumps({"prompt": c.text, "completion": f"{c.target} {' '.join(c.text.split()[: n % 5])}".rstrip()})
    for n, c in enumerate(CONTEXTS.values())
]
SETS = TrainingSets(lambda sha256: EXAMPLES)
RATES = {"full sgd": 0.02, "full adamw": 1e-3, "lora adamw": 1e-2}


def problems(kind: str, *, lora: dict[str, Any] | None = None, **settings: Any) -> list[Problem]:
    """One for each watched context; `settings` of the problem, and with `training` of its set."""
    method, optimizer = kind.split()
    training = {"data": "0" * 64, "loss": "completion", "batch_size": 4, "words": 9, "max_length": 64}
    return [
        Problem(
            **{
                "model": "zoo:gpt2-a",
                "context": context,
                "method": method,
                "lora": Lora(**{"rank": 4, "alpha": 8} | (lora or {})) if method == "lora" else None,
                "optimizer": Optimizer(name=optimizer),
                "steps": 5,
                "gradient_clipping": 1.0,
                **settings,
                "training": TrainingSet.model_validate(training | settings.get("training", {})),
            }
        )
        for context in WATCHED
    ]


def trained(
    loaded: LoadedModel, of: Sequence[Problem], rates: Sequence[float], engine: str = "single"
) -> dict[tuple[str, float, int], TrialResult]:
    probed = [probe(loaded, problem, SETS) for problem in of]
    trials = [
        Trial(measured=m, learning_rate=rate) for rate in rates for m in probed if isinstance(m, Measured)
    ]
    assert trials
    results = engine_for(engine, trials[0].problem, (), SETS).run(loaded, trials)
    return {(r.trial.problem.context.id, r.trial.learning_rate, r.trial.problem.seed): r for r in results}


def assert_equal(one: dict[Any, TrialResult], other: dict[Any, TrialResult]) -> None:
    """The conformance suite's tolerances: gaps within 1e-3 or 1e-4 of their size."""
    assert one.keys() == other.keys()
    for name, a in one.items():
        b = other[name]
        assert [m.step for m in a.trace] == [m.step for m in b.trace]
        for x, y in zip(a.trace, b.trace, strict=True):
            assert y.logit_gap == pytest.approx(x.logit_gap, rel=1e-4, abs=1e-3)
            assert y.order_parameter == pytest.approx(x.order_parameter, abs=1e-4)
            assert y.training_loss == pytest.approx(x.training_loss, rel=1e-4)
            assert y.gradient_norm == pytest.approx(x.gradient_norm, rel=1e-3)
        assert b.training_losses == pytest.approx(a.training_losses, rel=1e-4)


@pytest.fixture(scope="module")
def tiny() -> LoadedModel:
    return load("zoo:gpt2-a")


@pytest.mark.parametrize("name", ZOO)
@pytest.mark.parametrize("kind", RATES)
def test_lanes_are_solo_runs(name: str, kind: str) -> None:
    loaded, rate = load(f"zoo:{name}"), RATES[kind]
    of = problems(kind, model=f"zoo:{name}", schedule=Schedule(name="cosine", warmup_steps=1))
    rates = [0.3 * rate, rate]
    lanes = trained(loaded, of, rates, "lanes")
    assert {r.engine for r in lanes.values()} == {"lora lanes" if kind == "lora adamw" else "stacked lanes"}
    assert_equal(trained(loaded, of, rates), lanes)


def test_the_reference_is_a_plain_loop(tiny: LoadedModel) -> None:
    (context, *_) = of = problems("full sgd", gradient_clipping=None)
    results = trained(tiny, of, [0.02])
    batches = SETS.batches(tiny, context)
    assert batches is not None
    model = tiny.model
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    losses = []
    for step in range(5):
        total, counted = torch.zeros(()), 0
        for sequence in batches[step].sequences:  # one example at a time, without padding
            logits_KV = model(input_ids=torch.tensor([sequence.ids])).logits[0]
            labels = torch.tensor(
                [t if c else -100 for t, c in zip(sequence.ids, sequence.counted, strict=True)]
            )
            total = total + torch.nn.functional.cross_entropy(logits_KV[:-1], labels[1:], reduction="sum")
            counted += sum(sequence.counted)
        optimizer.zero_grad()
        (total / counted).backward()
        optimizer.step()
        losses.append(float(total.detach()) / counted)
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.copy_(before[name])
            p.grad = None
    for result in results.values():
        assert result.training_losses == pytest.approx(losses, rel=1e-5)


def test_the_passes_of_a_step_sum_up_to_the_same(tiny: LoadedModel) -> None:
    for engine in ("single", "lanes"):
        whole, parts = (
            trained(tiny, problems("lora adamw", training={"accumulate": n}), [0.005, 0.01], engine)
            for n in (1, 3)
        )
        assert_equal(whole, parts)


def test_contexts_that_are_watched_together_are_watched_alone(tiny: LoadedModel) -> None:
    of = problems("full adamw")
    together = trained(tiny, of, [1e-3])
    alone = {}
    for problem in of:
        alone |= trained(tiny, [problem], [1e-3])
    assert_equal(together, alone)
    ids = {r.trial.training_id for r in (together | alone).values()}
    assert len(ids) == 1
    assert len({r.id for r in together.values()}) == len(together)


def test_measured_steps_are_those_asked_for_and_change_no_training(tiny: LoadedModel) -> None:
    every, third = (
        trained(tiny, problems("full adamw", training={"measure_every": n}), [1e-3]) for n in (1, 3)
    )
    for name, result in every.items():
        assert [m.step for m in result.trace] == [0, 1, 2, 3, 4, 5]
        assert [m.step for m in third[name].trace] == [0, 3, 5]
        assert third[name].training_losses == result.training_losses
        assert third[name].trace[-1].logit_gap == result.trace[-1].logit_gap
        assert result.id != third[name].id
        assert result.trial.training_id == third[name].trial.training_id
        assert [m.training_loss for m in result.trace] == [*result.training_losses, None]


@pytest.mark.parametrize("engine", ["single", "lanes"])
def test_dropout_draws_from_the_trials_seed_alone(engine: str, tiny: LoadedModel) -> None:
    of = [problem for seed in (0, 1) for problem in problems("lora adamw", lora={"dropout": 0.2}, seed=seed)]
    together = trained(tiny, of, [0.005, 0.01], engine)
    alone = {}
    for seed in (0, 1):
        for rate in (0.005, 0.01):
            alone |= trained(tiny, [p for p in of if p.seed == seed], [rate])
    assert_equal(alone, together)
    plain = trained(tiny, problems("lora adamw"), [0.01])
    dropped = together[WATCHED[0].id, 0.01, 0]
    assert dropped.training_losses != pytest.approx(plain[WATCHED[0].id, 0.01, 0].training_losses, rel=1e-4)


@pytest.mark.parametrize("engine", ["single", "lanes"])
def test_a_training_that_becomes_nan_ends_and_leaves_others_alone(engine: str, tiny: LoadedModel) -> None:
    of = problems("full sgd", gradient_clipping=None)
    results = trained(tiny, of, [0.01, 1e12], engine)
    for (_, rate, _), result in results.items():
        assert result.stopped_early == ("non_finite" if rate > 1 else None)
    good = {name: r for name, r in results.items() if name[1] == 0.01}
    assert_equal(trained(tiny, of, [0.01]), good)


def test_kappa_is_the_gaps_rate_along_the_mean_gradient(tiny: LoadedModel) -> None:
    """One step of full-batch SGD at a small rate moves each gap by η κ, to first order."""
    of = problems("full sgd", steps=1, gradient_clipping=None, training={"batch_size": len(EXAMPLES)})
    rate = 1e-4
    for result in trained(tiny, of, [rate]).values():
        moved = result.trace[-1].logit_gap - result.trace[0].logit_gap
        assert moved / rate == pytest.approx(result.trial.measured.kappa, rel=0.05, abs=0.5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("gpt2-a", True), ("llama-a", True), ("gemma3-a", True), ("opt-a", False), ("bloom-a", False)],
)
def test_sequences_share_a_row_where_their_positions_keep_them_apart(name: str, expected: bool) -> None:
    """OPT counts positions from the mask, BLOOM has none: both are padded, and equal the reference as the others do."""
    assert may_pack(load(f"zoo:{name}").model) is expected


@given(st.lists(st.integers(2, 300), min_size=1, max_size=16), st.integers(8, 4096))
def test_packing_pays_where_padding_costs_more_than_attention(lengths: list[int], width: int) -> None:
    longest, tokens = max(lengths), sum(lengths)
    padded = len(lengths) * (24 * width**2 * longest + 4 * width * longest**2)
    packed = 24 * width**2 * tokens + 4 * width * tokens**2
    assert packing_pays(lengths, width) is (packed < padded)
    if len(set(lengths)) == 1:
        assert not packing_pays(lengths, width)
