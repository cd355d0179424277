"""Measures the untouched model on a problem: its tokens, overlaps, gap and the gap's rate κ; or refuses the problem.

A probe computes the gradients of a training step, so it belongs to the engines; the law gets only the numbers.
Cost: one forward and two backward passes (`Measured.PROBE_STEPS`).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar
from weakref import WeakSet

import torch
from torch import Tensor

from phantom_dist.contexts import check_tokenizer, choose_pair, near_synonym, tokens
from phantom_dist.core.errors import InputError, Refusal
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.probe_result import Measured, ModelReading, PairReading, ProbeResult, Refused
from phantom_dist.core.trial import Context, Problem
from phantom_dist.data import Batches
from phantom_dist.data.sample import Sample
from phantom_dist.engines.coordinates import Coordinates, FirstOrder, ParameterCoordinates
from phantom_dist.engines.lanes.dual_coordinates import dual_coordinates
from phantom_dist.engines.lanes.frozen_matrix import shards_of
from phantom_dist.engines.lanes.kind import NotFusable
from phantom_dist.engines.lanes.support import dual_pays
from phantom_dist.engines.memory import out_of_memory_named
from phantom_dist.engines.objective import gap_of
from phantom_dist.engines.precision import autocast
from phantom_dist.engines.trainable import (
    Trainable,
    lora_targets,
    readout_matrix,
    trainable,
    vocabulary_rows,
)
from phantom_dist.engines.training_sets import TrainingSets, losses, sample_losses, starting_gradients
from phantom_dist.instruments import overlap, readout
from phantom_dist.instruments.word_prompts import read_word, word_loss
from phantom_dist.models.load import LoadedModel

Result = TypeVar("Result")

_usable: WeakSet[Any] = WeakSet()
"""Tokenizers that have passed `check_tokenizer`: once for a model, not for each of its problems."""


@dataclass(frozen=True, slots=True)
class StartingPoint:
    """The untouched model on a problem that can be trained: the start of its training.

    `logits` (P, V) after each of the context's prompts, float32, detached; `gradient` ∇L in the coordinates, None
    unless the caller keeps it.
    """

    coordinates: Coordinates
    measured: Measured
    logits: Tensor
    gradient: Tensor | None


def probe(
    loaded: LoadedModel,
    problem: Problem,
    training_sets: TrainingSets | None = None,
    sample: Sample | None = None,
) -> ProbeResult:
    """Measure κ and the quantities it follows from, and restore the model.

    With a training set u is the first step along the mean loss of a `sample` of its examples, by default of its first
    ones (`data.Batches.sample`).

    A pair that this model can't be trained on is returned as `Refused`, not raised.

    Raises:
        InputError: a LoRA target that this model doesn't have.
        OutOfMemory: the gradients don't fit.
    """
    try:
        batches = None if training_sets is None else training_sets.batches(loaded, problem)
        with starting_point(loaded, problem, keep_gradient=False, batches=batches, sample=sample) as start:
            return start.measured
    except ProbeRefused as refused:
        return refused.result


@contextmanager
def starting_point(
    loaded: LoadedModel,
    problem: Problem,
    *,
    keep_gradient: bool,
    batches: Batches | None = None,
    sample: Sample | None = None,
) -> Iterator[StartingPoint]:
    """The model as the problem trains it, measured by one forward and two backward passes.

    `batches`: those of its training set, if it has one; `sample`: as for `probe`.

    Raises:
        ProbeRefused: the pair can't be trained on.
        InputError: a LoRA target that this model doesn't have, or a model that can't be trained on.
        OutOfMemory: the gradients don't fit.
    """
    with out_of_memory_named(), ExitStack() as stack:
        yield in_its_direction(
            problem,
            lambda words: stack.enter_context(
                _start(loaded, problem, words, batches, sample, keep_gradient=keep_gradient)
            ),
        )


def in_its_direction(problem: Problem, measure_words: Callable[[Context], Result]) -> Result:
    """Measure a context, with `either` in the direction that the model has to learn.

    Raises:
        ProbeRefused: the pair can't be trained on.
    """
    *others, last = problem.context.directions
    for words in others:
        try:
            return measure_words(words)
        except ProbeRefused as refused:
            if refused.result.outcome is not Outcome.REFUSED_COMMITTED:
                raise
    return measure_words(last)


@contextmanager
def _start(
    loaded: LoadedModel,
    problem: Problem,
    words: Context,
    batches: Batches | None,
    sample: Sample | None,
    *,
    keep_gradient: bool,
) -> Iterator[StartingPoint]:
    targets = None if problem.lora is None else lora_targets(loaded.model, problem.lora)
    parameter = readout_matrix(loaded.model)
    matrix = shards_of(parameter) or WholeReadout(parameter)
    context = read_context(loaded, problem, words, matrix, targets, batches)
    with _coordinates(loaded, problem, context.prompts, batches, sample) as coordinates:
        with _weights_unchanged(loaded.model):
            logits_PV = coordinates.untouched_logits()
        measured, gradient = measure(context, coordinates, logits_PV, keep_gradient=keep_gradient)
        yield StartingPoint(coordinates, measured, logits_PV.detach(), gradient)


@contextmanager
def _coordinates(
    loaded: LoadedModel,
    problem: Problem,
    prompts: Sequence[tuple[int, ...]],
    batches: Batches | None,
    sample: Sample | None,
) -> Iterator[Coordinates]:
    """The cheapest coordinates for this problem; restores the untouched model on exit.

    Raises:
        NotFusable: the model is sharded, and can't be trained as lanes.
    """
    if problem.method == "full" and shards_of(readout_matrix(loaded.model)) is not None:
        with dual_coordinates(loaded, problem, prompts[0]) as dual:
            yield dual
        return
    with ExitStack() as stack:
        coordinates: Coordinates | None = None
        is_single = len(prompts) == 1
        if batches is None and is_single and dual_pays(problem, loaded.identity.parameters, len(prompts[0])):
            with suppress(NotFusable):
                coordinates = stack.enter_context(dual_coordinates(loaded, problem, prompts[0]))
        if coordinates is None:
            ready = stack.enter_context(trainable(loaded, problem))
            gradients = None
            if batches is not None:
                gradients = loss_gradients(loaded, ready, problem, batches, sample)
            by_parameters = ParameterCoordinates(ready, prompts, problem, gradients)
            stack.callback(by_parameters.close)
            coordinates = by_parameters
        yield coordinates


def loss_gradients(
    loaded: LoadedModel, ready: Trainable, problem: Problem, batches: Batches, sample: Sample | None
) -> tuple[Tensor, ...]:
    """∇L of a training's mean loss at θ_0, one tensor for each trained parameter, kept for its other contexts.

    `sample`: as for `probe`.
    """
    compute = functools.partial(_loss_gradients, ready, problem, batches, sample)
    return starting_gradients(loaded, (problem.without_context, batches, sample), compute)


def _loss_gradients(
    ready: Trainable, problem: Problem, batches: Batches, sample: Sample | None
) -> list[Tensor]:
    """In passes of the size of the training's own."""
    settings = batches.training
    sums = [torch.zeros_like(parameter) for parameter in ready.parameters]
    device = ready.readout_Vd.device
    with autocast(device, problem.is_mixed):
        if sample is None:
            first = batches.sample
            passes = math.ceil(len(first.sequences) / settings.batch_size * settings.accumulate)
            passed: Iterable[Callable[[], Tensor]] = losses(
                ready.model, first, min(passes, len(first.sequences)), device
            )
        else:
            passed = sample_losses(
                ready.model, sample, math.ceil(settings.batch_size / settings.accumulate), device
            )
        for loss in passed:
            parts = torch.autograd.grad(loss(), ready.parameters, materialize_grads=True)
            for total, part in zip(sums, parts, strict=True):
                total += part
    return sums


@contextmanager
def _weights_unchanged(model: Any) -> Iterator[None]:
    """Check that a forward pass doesn't change the weights; else no two trials would start from the same ones.

    Raises:
        InputError: it changes them.
    """
    before = [(name, parameter, parameter._version) for name, parameter in model.named_parameters()]
    yield
    changed = next((name for name, parameter, version in before if parameter._version != version), None)
    if changed is not None:
        raise InputError(
            f"{type(model).__name__} changes its own weights in its forward pass ({changed}), so no training would "
            f"start from the loaded weights. Switch that off in its configuration (Rwkv: `rescale_every: 0`)."
        )


class ReadoutMatrix(Protocol):
    """What a probe needs of the untouched readout matrix E (V x d), in one process or sharded over ranks."""

    @property
    def width(self) -> int:
        """The matrix's columns d."""
        ...

    def centred_overlap_row(self, token: int) -> Tensor:
        """See `instruments.overlap.centred_overlap_row`."""
        ...

    def token_overlap_rows(self, tokens: tuple[int, ...]) -> Tensor:
        """See `instruments.overlap.overlap_rows`."""
        ...


class WholeReadout:
    """A readout matrix that is whole in this process."""

    def __init__(self, readout_Vd: Tensor) -> None:
        self._readout_Vd = readout_Vd

    @property
    def width(self) -> int:
        """See `ReadoutMatrix`."""
        return self._readout_Vd.shape[1]

    def centred_overlap_row(self, token: int) -> Tensor:
        """See `ReadoutMatrix`."""
        return overlap.centred_overlap_row(self._readout_Vd, token)

    def token_overlap_rows(self, tokens: tuple[int, ...]) -> Tensor:
        """See `ReadoutMatrix`."""
        return overlap.overlap_rows(self._readout_Vd, tokens)


class ProbeRefused(Exception):
    """A refused problem on its way out of a probe; `probe` returns its `result`."""

    def __init__(self, result: Refused) -> None:
        super().__init__(result.message)
        self.result = result


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadContext:
    """A problem whose context the model can read.

    `words`: its context, in one of its `directions`; `prompts`: after which it is read (`WordPrompts`); `target`: token
    of the target where the words differ first.
    """

    loaded: LoadedModel
    problem: Problem
    words: Context
    model: ModelReading
    matrix: ReadoutMatrix
    prompts: tuple[tuple[int, ...], ...]
    target: int


def read_context(
    loaded: LoadedModel,
    problem: Problem,
    words: Context,
    matrix: ReadoutMatrix,
    targets: tuple[str, ...] | None,
    batches: Batches | None = None,
) -> ReadContext:
    """Tokenize a problem's context and check it, before any forward pass.

    Args:
        loaded: the model.
        problem: the problem to measure.
        words: its context, in one of its `directions`.
        matrix: the model's readout matrix.
        targets: LoRA targets as resolved for this model; None under full fine-tuning.
        batches: those of its training set, if it has one.

    Raises:
        ProbeRefused: this model can't read the context.
        InputError: the tokenizer can't be used for any context.
    """
    model = ModelReading(identity=loaded.identity, width=matrix.width, lora_targets=targets)
    if batches is not None:
        model = dataclasses.replace(
            model,
            batches=batches.digest(problem.steps),
            examples_used=batches.counts.used,
            examples_cut=batches.counts.cut,
        )
    rows = vocabulary_rows(loaded.model)
    if loaded.tokenizer not in _usable:
        check_tokenizer(loaded.tokenizer, problem.model, rows=rows)
        _usable.add(loaded.tokenizer)
    with _refusing(problem, model):
        prompts, target = tokens.prompts_and_target(loaded.tokenizer, words, rows=rows)
        _check_length(loaded.model.config, max(prompts, key=len), words.id)
    return ReadContext(
        loaded=loaded,
        problem=problem,
        words=words,
        model=model,
        matrix=matrix,
        prompts=prompts,
        target=target,
    )


def measure(
    context: ReadContext, start: FirstOrder, logits_PV: Tensor, *, keep_gradient: bool = False
) -> tuple[Measured, Tensor | None]:
    """Everything that a search starts from; and ∇L, if `keep_gradient`.

    Args:
        context: the problem.
        start: the untouched model.
        logits_PV: its logits after each of the context's prompts, differentiable; their graph is consumed here.
        keep_gradient: whether to return ∇L.

    Raises:
        ProbeRefused: the pair can't be trained on.
        ArithmeticError: the gap or its rate is NaN or Inf.
    """
    problem = context.problem
    pair = read_pair(context, logits_PV.detach())
    kappa, gradient = start.first_order(logits_PV, pair.tokens, keep=keep_gradient)
    if not math.isfinite(kappa):
        raise ArithmeticError(f"the gap's rate kappa is {kappa} for the untouched model {problem.model!r}")
    return Measured(problem=problem, model=context.model, pair=pair, kappa=kappa), gradient


@torch.no_grad()
def read_pair(context: ReadContext, logits_PV: Tensor) -> PairReading:
    """Measure the pair from the untouched model's logits and readout matrix; refuse it if it can't be trained."""
    problem, model, target = context.problem, context.model, context.target
    with _refusing(problem, model):
        centred_V = context.matrix.centred_overlap_row(target)
        floor = near_synonym.synonym_floor(overlap.row_rms(centred_V, target), problem.thresholds)
        # The logits may have fewer rows than the embedding; `read_context` has checked the prompt against both.
        read = choose_pair(
            context.loaded.tokenizer,
            context.words,
            target,
            logits_V=logits_PV[0],
            centred_overlap_V=centred_V,
            floor=floor,
        )
    rows_2V = context.matrix.token_overlap_rows((read.target, read.competitor))
    logits_V, rests_3 = read_word(logits_PV, read)
    pair = PairReading(
        tokens=read,
        gap_0=float(gap_of(logits_V, read, rests_3)),
        loss_0=float(word_loss(readout.cross_entropy(logits_V, read.target), rests_3)),
        overlap_0=float(rows_2V[0, read.competitor]),
        centred_overlap=float(centred_V[read.competitor]),
        synonym_floor=floor,
    )
    if not math.isfinite(pair.gap_0):
        raise ArithmeticError(f"the untouched model {problem.model!r} gives a logit gap of {pair.gap_0}")
    with _refusing(problem, model, pair):
        near_synonym.check_pair(
            gap_0=pair.gap_0,
            centred_overlap=pair.centred_overlap,
            target=read.target_text,
            competitor=read.competitor_text,
        )
    return pair


@contextmanager
def _refusing(problem: Problem, model: ModelReading, pair: PairReading | None = None) -> Iterator[None]:
    """Turn a `Refusal` raised within into a `ProbeRefused` with everything known of the problem so far."""
    try:
        yield
    except Refusal as refusal:
        raise ProbeRefused(
            Refused(problem=problem, outcome=refusal.outcome, message=refusal.message, model=model, pair=pair)
        ) from None


def _check_length(config: Any, prompt: tuple[int, ...], context: str) -> None:
    limit = getattr(config, "max_position_embeddings", None)
    if limit is not None and len(prompt) > limit:
        raise Refusal(
            Outcome.REFUSED_TOKENS,
            f"context {context!r}: the prompt has {len(prompt)} tokens, the model reads at most {limit}",
        )
