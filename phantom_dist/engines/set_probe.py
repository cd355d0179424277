"""The untouched model in a training on a data set: κ of every watched word, and the rate at which a step overshoots.

To find critical rates by training takes several trainings. What is measured here costs some `SetProbe.STEPS` steps of
one, and a backward pass for each word:

1. the gradient of the training's mean loss from a stratified sample of its examples (`data.sample`), once;
2. for each word ∇g, and from both κ: to first order the word is learnt at η = |g_0| / (κ T);
3. along the first step, the rate from which on it raises the loss (`rate_of_rise`).

A longer path isn't worth its gradients here: with so few examples κ itself is known to some ten per cent. What first
order leaves is the law's part. This is our reconstruction, not the paper's.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import torch
from torch import Tensor

from phantom_dist.contexts import tokens
from phantom_dist.core.errors import InputError, Refusal
from phantom_dist.core.probe_result import Measured, ProbeResult, SetProbe
from phantom_dist.core.trial import Problem
from phantom_dist.data import Batches
from phantom_dist.data.sample import Sample, stratified
from phantom_dist.engines.memory import out_of_memory_named
from phantom_dist.engines.optimizers import clip_scale
from phantom_dist.engines.path.probe import first_rate, root_mean_square
from phantom_dist.engines.precision import autocast
from phantom_dist.engines.probe import loss_gradients, probe
from phantom_dist.engines.trainable import Trainable, trainable, vocabulary_rows
from phantom_dist.engines.training_sets import TrainingSets, sample_losses
from phantom_dist.instruments.effective_steps import effective_steps
from phantom_dist.instruments.kernel_rate import first_direction, gradient_norm, inner_product
from phantom_dist.models.load import LoadedModel

PASSES, QUARTER = 9, 4
"""Forward passes along the first step, each of a quarter of a step's examples."""

FEWEST = 2
"""Examples of such a pass, at least."""

FORWARD = 1 / 3
"""Cost of a forward pass in steps; a step has a backward pass, too, with twice the operations."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OnSet:
    """What is measured of a training on a data set, beside its words.

    Attributes:
        rate_of_rise: see there; None where no rate was found.
        examples: number of examples in the sample.
        steps: cost of all, words included, in the training's own steps.
    """

    rate_of_rise: float | None
    examples: int
    steps: float


def probe_on_set(
    loaded: LoadedModel, problems: Sequence[Problem], training_sets: TrainingSets
) -> tuple[tuple[ProbeResult, ...], OnSet]:
    """Probe all words of one training, in their order, and the training; restore the model.

    Args:
        loaded: the model.
        problems: they differ in their contexts only.
        training_sets: where their data are.

    Raises:
        InputError: the data can't be trained on, or a LoRA target that this model doesn't have.
        OutOfMemory: the gradients don't fit.
    """
    problem = problems[0]
    batches = training_sets.batches(loaded, problem)
    if batches is None:
        raise InputError("a prompt that is trained alone has no training set to be probed on")
    sample, of_words = _sample(loaded, problems, batches)
    probed = [probe(loaded, each, training_sets, sample) for each in problems]
    with out_of_memory_named(), _untouched(loaded, problem, batches, sample) as start:
        few = sample.thinned(_of_a_pass(batches))
        rise = rate_of_rise(start, few, problem)
        loss_distance = _loss(start.ready, few, problem) / few.weight / start.decrease
        adapters_rms = None if problem.lora is None else root_mean_square(start.ready.parameters)
    trained = sum(len(each.ids) for step in range(problem.steps) for each in batches[step].sequences)
    steps = (sample.tokens + of_words + PASSES * FORWARD * few.tokens) * problem.steps / trained
    estimates = {
        each.problem.key: _estimates(each, adapters_rms)
        for each in probed
        if isinstance(each, Measured) and each.kappa > 0
    }
    typical = (statistics.median(rates[-1] for rates in estimates.values()),) if estimates else ()
    words = tuple(
        _with_sample(
            each, sample, estimates.get(each.problem.key, typical), loss_distance, steps / len(problems)
        )
        for each in probed
    )
    return words, OnSet(rate_of_rise=rise, examples=len(sample.sequences), steps=steps)


def probe_for_search(
    loaded: LoadedModel, problems: Sequence[Problem], training_sets: TrainingSets
) -> tuple[ProbeResult, ...]:
    """As `probe` measures each word of one training, with what a law needs to predict where its search should start.

    κ itself stays that along the training's first examples. The sample depends on the words that are watched together;
    equal trials have equal κ.

    Args, raises: as `probe_on_set`.
    """
    words, _ = probe_on_set(loaded, problems, training_sets)
    return tuple(_both(probe(loaded, word.problem, training_sets), word) for word in words)


def _both(probed: ProbeResult, word: ProbeResult) -> ProbeResult:
    if not isinstance(probed, Measured) or not isinstance(word, Measured) or word.on_set is None:
        return probed
    cost = Measured.PROBE_STEPS + word.on_set.trial_steps
    return dataclasses.replace(probed, on_set=dataclasses.replace(word.on_set, trial_steps=cost))


def _estimates(word: Measured, adapters_rms: float | None) -> tuple[float, ...]:
    """First order, and under LoRA with the adapters' growth."""
    problem = word.problem
    steps = effective_steps(problem.steps, problem.schedule, problem.optimizer)
    first_order = abs(word.gap_0) / word.kappa / steps
    return (first_order,) if adapters_rms is None else (first_order, first_rate(word, adapters_rms))


def _with_sample(
    probed: ProbeResult, sample: Sample, estimates: tuple[float, ...], loss_distance: float, steps: float
) -> ProbeResult:
    """With what the law needs; `loss_distance`: where, to first order, the training's loss is used up."""
    if not isinstance(probed, Measured):
        return probed
    target, problem = probed.tokens.target, probed.problem
    p_target = math.exp(-probed.pair.loss_0)
    if probed.kappa > 0:
        distance = abs(probed.gap_0) / probed.kappa
    else:
        length = effective_steps(problem.steps, problem.schedule, problem.optimizer)
        distance = estimates[-1] * length if estimates else math.inf
    on_set = SetProbe(
        kappa=probed.kappa,
        share=sample.shares[target],
        drawn=sample.drawn[target],
        learning_rates=estimates,
        log_odds_0=-probed.pair.loss_0 - math.log1p(-p_target),
        reach=distance / loss_distance,
        trial_steps=steps,
    )
    return dataclasses.replace(probed, on_set=on_set)


def _sample(loaded: LoadedModel, problems: Sequence[Problem], batches: Batches) -> tuple[Sample, float]:
    """The sample that the budget allows, and the words' own part of it, in tokens that are trained on."""
    problem, rows = problems[0], vocabulary_rows(loaded.model)
    watched: set[int] = set()
    of_words = 0.0
    for words in (words for each in problems for words in each.context.directions):
        with suppress(Refusal):  # the probe of the word says why
            prompts, target = tokens.prompts_and_target(loaded.tokenizer, words, rows=rows)
            watched.add(target)
            of_words += sum(map(len, prompts))
    budget = max(SetProbe.STEPS, SetProbe.SHARE * problem.steps) * batches.training.batch_size
    factors = problem.schedule.factors(problem.steps)
    size = round(budget - PASSES * FORWARD * _of_a_pass(batches))
    return stratified(batches, factors, watched, size), of_words


def _of_a_pass(batches: Batches) -> int:
    return max(FEWEST, -(-batches.training.batch_size // QUARTER))


@dataclass(frozen=True, slots=True)
class _Start:
    """The untouched model, the first step's direction u for each trained parameter, and ⟨∇L, u⟩."""

    ready: Trainable
    directions: Sequence[Tensor]
    decrease: float


@contextmanager
def _untouched(loaded: LoadedModel, problem: Problem, batches: Batches, sample: Sample) -> Iterator[_Start]:
    with trainable(loaded, problem) as ready:
        gradients = loss_gradients(loaded, ready, problem, batches, sample)
        scale = clip_scale(gradient_norm(gradients), problem.gradient_clipping)
        direction = functools.partial(first_direction, optimizer=problem.optimizer.without_decay)
        pairs = zip(gradients, ready.parameters, strict=True)
        directions = [direction(gradient * scale, parameter.detach()) for gradient, parameter in pairs]
        yield _Start(ready, directions, sum(map(inner_product, gradients, directions)))


@torch.no_grad()
def _loss(ready: Trainable, few: Sample, problem: Problem) -> float:
    device = ready.readout_Vd.device
    with autocast(device, problem.is_mixed):
        return sum(float(part()) for part in sample_losses(ready.model, few, len(few.sequences), device))


@torch.no_grad()
def rate_of_rise(start: _Start, batch: Sample, problem: Problem) -> float | None:
    """The learning rate at which the first step raises the loss of a batch again: L(θ_0 − η u) = L(θ_0).

    For plain gradient descent on a quadratic loss it is 2 / λ, λ the curvature along the gradient. "Critical sharpness"
    (arXiv 2601.16979) is 2 / this rate. Searched in `PASSES` forward passes, to a few per cent.
    """
    ready = start.ready
    origins = [parameter.detach().clone() for parameter in ready.parameters]

    def loss(rate: float) -> float:
        for parameter, origin, direction in zip(ready.parameters, origins, start.directions, strict=True):
            torch.add(origin, direction, alpha=-rate, out=parameter.data)
        return _loss(ready, batch, problem)

    try:
        before = loss(0.0)
        low, high, rate = None, None, _typical_rate(origins, start.directions)
        for _ in range(PASSES - 2):
            if loss(rate) <= before:  # false for NaN, too
                low = rate
            else:
                high = rate
            if low is not None and high is not None:
                rate = math.sqrt(low * high)
            else:
                rate = rate * 8 if high is None else rate / 8
        return rate if low is not None and high is not None else None
    finally:
        for parameter, origin in zip(ready.parameters, origins, strict=True):
            parameter.data.copy_(origin)


def _typical_rate(origins: Sequence[Tensor], directions: Sequence[Tensor]) -> float:
    """The rate whose step has a thirtieth of the length of the trained parameters."""
    return gradient_norm(origins) / gradient_norm(directions) / 30
