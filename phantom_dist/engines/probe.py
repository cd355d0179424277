"""What the untouched model says about a problem: its tokens, overlaps, gap, the gap's rate κ; or a refusal.

Probes take the gradients of a training step, so they belong to the engines; the law sees their numbers only.
Cost: one forward and two backward passes (`Measured.PROBE_STEPS`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakSet

import torch
from torch import Tensor

from phantom_dist.contexts import check_tokenizer, choose_pair, near_synonym, tokens
from phantom_dist.core.errors import InputError, Refusal
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.probe_result import Measured, ModelReading, PairReading, ProbeResult, Refused
from phantom_dist.core.trial import Problem
from phantom_dist.engines.coordinates import Coordinates, Entries, FirstOrder
from phantom_dist.engines.lanes.dual_coordinates import dual_coordinates, dual_pays
from phantom_dist.engines.lanes.kind import NotFusable
from phantom_dist.engines.memory import out_of_memory_named
from phantom_dist.engines.trainable import lora_targets, readout_matrix, trainable, vocabulary_rows
from phantom_dist.instruments import overlap, readout
from phantom_dist.models import LoadedModel

_usable: WeakSet[Any] = WeakSet()
"""Tokenizers that can read contexts; checked once for a model, not for each of its problems."""


@dataclass(frozen=True, slots=True)
class StartingPoint:
    """The untouched model in one problem that can be trained, and where its training starts.

    `logits` (V,), float32, detached; `gradient` ∇L in the coordinates, where the caller keeps it.
    """

    coordinates: Coordinates
    measured: Measured
    logits: Tensor
    gradient: Tensor | None


def probe(loaded: LoadedModel, problem: Problem) -> ProbeResult:
    """Measure κ and what it rests on, and leave the model as it was.

    A pair that this model can't be trained on is returned as `Refused`, not raised.

    Raises:
        InputError: a LoRA target that this model doesn't have.
        OutOfMemory: the gradients don't fit.
    """
    try:
        with started(loaded, problem, keep_gradient=False) as start:
            return start.measured
    except ProbeRefused as refused:
        return refused.result


@contextmanager
def started(loaded: LoadedModel, problem: Problem, *, keep_gradient: bool) -> Iterator[StartingPoint]:
    """The model as the problem trains it, measured by one forward and two backward passes.

    Raises:
        ProbeRefused: the pair can't be trained on.
        InputError: a LoRA target that this model doesn't have, or a model that can't be trained on.
        OutOfMemory: the gradients don't fit.
    """
    targets = None if problem.lora is None else lora_targets(loaded.model, problem.lora)
    matrix = WholeReadout(readout_matrix(loaded.model))
    with out_of_memory_named():
        context = read_context(loaded, problem, matrix, targets)
        with _coordinates(loaded, problem, context.prompt) as coordinates:
            with _weights_stay(loaded.model):
                logits_V = coordinates.untouched_logits()
            measured, gradient = measure(context, coordinates, logits_V, keep_gradient=keep_gradient)
            yield StartingPoint(coordinates, measured, logits_V.detach(), gradient)


@contextmanager
def _coordinates(loaded: LoadedModel, problem: Problem, prompt: tuple[int, ...]) -> Iterator[Coordinates]:
    """The model's surroundings, in the coordinates that are cheapest; afterwards the untouched model is back."""
    with ExitStack() as stack:
        found: Coordinates | None = None
        if dual_pays(problem, loaded.identity.parameters, len(prompt)):
            with suppress(NotFusable):
                found = stack.enter_context(dual_coordinates(loaded, problem, prompt))
        if found is None:
            found = Entries(stack.enter_context(trainable(loaded, problem)), prompt, problem.optimizer)
        yield found


@contextmanager
def _weights_stay(model: Any) -> Iterator[None]:
    """A forward pass must leave the weights alone; else no two trials would start from the same ones.

    Raises:
        InputError: it doesn't.
    """
    before = [(name, parameter, parameter._version) for name, parameter in model.named_parameters()]
    yield
    changed = next((name for name, parameter, version in before if parameter._version != version), None)
    if changed is not None:
        raise InputError(
            f"{type(model).__name__} changes its own weights while it computes ({changed}), so no training would start "
            f"from those that were loaded: switch that off in its configuration (Rwkv: `rescale_every: 0`)"
        )


class ReadoutMatrix(Protocol):
    """What a probe reads of the untouched readout matrix E (V x d), whoever holds it."""

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
    """A readout matrix that this process holds."""

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
    """Carries a refused problem out of a probe."""

    def __init__(self, result: Refused) -> None:
        super().__init__(result.message)
        self.result = result


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadContext:
    """A problem whose context the model can read: what it reads, and with what."""

    loaded: LoadedModel
    problem: Problem
    model: ModelReading
    matrix: ReadoutMatrix
    prompt: tuple[int, ...]
    target: int


def read_context(
    loaded: LoadedModel, problem: Problem, matrix: ReadoutMatrix, targets: tuple[str, ...] | None
) -> ReadContext:
    """Read a problem's context, before anything is computed.

    Args:
        loaded: the model.
        problem: what is measured.
        matrix: its readout matrix.
        targets: LoRA's, as resolved for this model.

    Raises:
        ProbeRefused: this model can't read the context.
        InputError: with this tokenizer it can't read any.
    """
    model = ModelReading(identity=loaded.identity, width=matrix.width, lora_targets=targets)
    rows = vocabulary_rows(loaded.model)
    if loaded.tokenizer not in _usable:
        check_tokenizer(loaded.tokenizer, problem.model, rows=rows)
        _usable.add(loaded.tokenizer)
    with _refusing(problem, model):
        prompt, target = tokens.prompt_and_target(loaded.tokenizer, problem.context, rows=rows)
        _check_length(loaded.model.config, prompt, problem.context.id)
    return ReadContext(
        loaded=loaded, problem=problem, model=model, matrix=matrix, prompt=prompt, target=target
    )


def measure(
    context: ReadContext, start: FirstOrder, logits_V: Tensor, *, keep_gradient: bool = False
) -> tuple[Measured, Tensor | None]:
    """What a search starts from; and ∇L, if it is kept.

    Args:
        context: the problem.
        start: the untouched model.
        logits_V: its logits, differentiable; used up by this.
        keep_gradient: whether ∇L is wanted.

    Raises:
        ProbeRefused: the pair can't be trained on.
        ArithmeticError: the gap or its rate is NaN or Inf.
    """
    problem = context.problem
    pair = _read_pair(context, logits_V.detach())
    kappa, gradient = start.first_order(logits_V, pair.tokens, keep=keep_gradient)
    if not math.isfinite(kappa):
        raise ArithmeticError(f"the gap's rate kappa is {kappa} for the untouched model {problem.model!r}")
    return Measured(problem=problem, model=context.model, pair=pair, kappa=kappa), gradient


@torch.no_grad()
def _read_pair(context: ReadContext, logits_V: Tensor) -> PairReading:
    """What the untouched model's logits (V,) and its readout matrix say of the pair."""
    problem, model, target = context.problem, context.model, context.target
    with _refusing(problem, model):
        centred_V = context.matrix.centred_overlap_row(target)
        floor = near_synonym.synonym_floor(overlap.row_rms(centred_V, target), problem.thresholds)
        # The logits may have fewer rows than the embedding; `read_context` has checked the prompt against both.
        read = choose_pair(
            context.loaded.tokenizer,
            problem.context,
            target,
            logits_V=logits_V,
            centred_overlap_V=centred_V,
            floor=floor,
        )
    rows_2V = context.matrix.token_overlap_rows((read.target, read.competitor))
    pair = PairReading(
        tokens=read,
        gap_0=float(readout.logit_gap(logits_V, read.target, read.competitor)),
        loss_0=float(readout.cross_entropy(logits_V, read.target)),
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
            floor=pair.synonym_floor,
            target=read.target_text,
            competitor=read.competitor_text,
        )
    return pair


@contextmanager
def _refusing(problem: Problem, model: ModelReading, pair: PairReading | None = None) -> Iterator[None]:
    """A refusal takes along what was known of the problem by then."""
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
            f"context {context!r}: the prompt is {len(prompt)} tokens long, the model reads at most {limit}",
        )
