"""What the untouched model says about a problem: its tokens, overlaps, gap, the gap's rate κ; or a refusal.

Probes take the gradients of a training step, so they belong to the engines; the law sees their numbers only.
Cost: one forward and two backward passes (`Origin.PROBE_STEPS`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol
from weakref import WeakSet

import torch
from torch import Tensor

from phantom_dist.contexts import check_tokenizer, near_synonym, tokens
from phantom_dist.core.errors import InputError, Refusal
from phantom_dist.core.measurement import Origin
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.trial import Problem, Tokens
from phantom_dist.engines.coordinates import Coordinates, Entries
from phantom_dist.engines.lanes.dual_coordinates import dual_coordinates, dual_pays
from phantom_dist.engines.lanes.kind import NotFusable
from phantom_dist.engines.memory import out_of_memory_named
from phantom_dist.engines.trainable import lora_targets, readout_matrix, trainable, vocabulary_rows
from phantom_dist.instruments import overlap, readout
from phantom_dist.models import LoadedModel

_usable: WeakSet[Any] = WeakSet()
"""Tokenizers that were found to read contexts; asked once for a model, not for each of its problems."""


@dataclass(frozen=True, slots=True)
class Start:
    """The untouched model in one problem: its origin and, where asked for and not refused, what it learns from.

    `logits` (V,), float32, detached; `gradient` ∇L, in the coordinates.
    """

    coordinates: Coordinates
    origin: Origin
    logits: Tensor
    gradient: Tensor | None


def probe(loaded: LoadedModel, problem: Problem) -> Origin:
    """Measure the origin of one problem, and leave the model as it was.

    A pair that this model can't be trained on comes back with `refusal` and a message, not as an exception.

    Raises:
        InputError: a LoRA target that this model doesn't have.
        OutOfMemory: the gradients don't fit.
    """
    try:
        with started(loaded, problem, keep_gradient=False) as start:
            return start.origin
    except Refused as refused:
        return refused.origin


@contextmanager
def started(loaded: LoadedModel, problem: Problem, *, keep_gradient: bool) -> Iterator[Start]:
    """The model as the problem trains it, its origin measured by one forward and two backward passes.

    Raises:
        Refused: the pair can't be trained on.
        InputError: a LoRA target that this model doesn't have, or a model that can't be trained on.
        OutOfMemory: the gradients don't fit.
    """
    targets = None if problem.lora is None else lora_targets(loaded.model, problem.lora)
    matrix = WholeReadout(readout_matrix(loaded.model))
    with out_of_memory_named():
        origin, prompt, target = read_context(loaded, problem, targets, matrix.width)
        with _coordinates(loaded, problem, prompt) as coordinates:
            with _weights_stay(loaded.model):
                logits_V = coordinates.untouched_logits()
            seen_V = logits_V.detach()
            origin = with_pair(loaded, origin, prompt, target, seen_V, matrix)
            assert origin.tokens is not None
            kappa, gradient = coordinates.first_order(logits_V, origin.tokens, keep=keep_gradient)
            yield Start(coordinates, with_kappa(origin, kappa), seen_V, gradient)


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


class Readout(Protocol):
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
        """See `Readout`."""
        return self._readout_Vd.shape[1]

    def centred_overlap_row(self, token: int) -> Tensor:
        """See `Readout`."""
        return overlap.centred_overlap_row(self._readout_Vd, token)

    def token_overlap_rows(self, tokens: tuple[int, ...]) -> Tensor:
        """See `Readout`."""
        return overlap.overlap_rows(self._readout_Vd, tokens)


class Refused(Exception):
    """Carries the origin as far as it was measured when the refusal came."""

    def __init__(self, origin: Origin, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.origin = dataclasses.replace(origin, refusal=refusal.outcome, message=refusal.message)


def read_context(
    loaded: LoadedModel, problem: Problem, targets: tuple[str, ...] | None, width: int
) -> tuple[Origin, tuple[int, ...], int]:
    """What is known of a problem before anything is computed: an origin, its prompt and its target as token ids.

    Args:
        loaded: the model.
        problem: what is asked.
        targets: LoRA's, as resolved for this model.
        width: d.

    Raises:
        Refused: the context can't be read by this model.
        InputError: none can, with this tokenizer.
    """
    rows = vocabulary_rows(loaded.model)
    if loaded.tokenizer not in _usable:
        check_tokenizer(loaded.tokenizer, problem.model, rows=rows)
        _usable.add(loaded.tokenizer)
    origin = Origin(problem=problem, identity=loaded.identity, lora_targets=targets, width=width)
    try:
        prompt, target = tokens.prompt_and_target(loaded.tokenizer, problem.context, rows=rows)
        _check_length(loaded.model.config, prompt, problem.context.id)
    except Refusal as refusal:
        raise Refused(origin, refusal) from None
    return origin, prompt, target


@torch.no_grad()
def with_pair(
    loaded: LoadedModel,
    origin: Origin,
    prompt: tuple[int, ...],
    target: int,
    logits_V: Tensor,
    matrix: Readout,
) -> Origin:
    """Add the tokens and what the untouched model's logits and readout matrix say of the pair.

    Raises:
        Refused: the pair can't be trained on.
        ArithmeticError: the untouched model's logits are not finite.
    """
    context, thresholds = origin.problem.context, origin.problem.thresholds
    rows = len(logits_V)  # the prompt was held against the embedding's before
    try:
        centred_V = matrix.centred_overlap_row(target)
        floor = near_synonym.synonym_floor(overlap.row_rms(centred_V, target), thresholds)
        chosen = None
        if context.competitor == tokens.AUTO:
            admits = tokens.rival_test(loaded.tokenizer, context, rows=rows)
            chosen = near_synonym.choose_competitor(logits_V, centred_V, floor, target, admits)
        pair = tokens.tokenise(loaded.tokenizer, context, chosen, rows=rows)
    except Refusal as refusal:
        raise Refused(origin, refusal) from None
    rows_2V = matrix.token_overlap_rows((pair.target, pair.competitor))
    origin = dataclasses.replace(
        origin,
        tokens=pair,
        gap_0=float(readout.logit_gap(logits_V, pair.target, pair.competitor)),
        loss_0=float(readout.cross_entropy(logits_V, pair.target)),
        overlap_0=float(rows_2V[0, pair.competitor]),
        centred_overlap=float(centred_V[pair.competitor]),
        synonym_floor=floor,
    )
    try:
        _check(origin, pair)
    except Refusal as refusal:
        raise Refused(origin, refusal) from None
    return origin


def _check_length(config: Any, prompt: tuple[int, ...], context: str) -> None:
    limit = getattr(config, "max_position_embeddings", None)
    if limit is not None and len(prompt) > limit:
        raise Refusal(
            Outcome.REFUSED_TOKENS,
            f"context {context!r}: the prompt is {len(prompt)} tokens long, the model reads at most {limit}",
        )


def _check(origin: Origin, pair: Tokens) -> None:
    assert origin.gap_0 is not None
    assert origin.centred_overlap is not None
    assert origin.synonym_floor is not None
    if not math.isfinite(origin.gap_0):
        raise ArithmeticError(
            f"the untouched model {origin.problem.model!r} gives a logit gap of {origin.gap_0}"
        )
    near_synonym.check_pair(
        gap_0=origin.gap_0,
        centred_overlap=origin.centred_overlap,
        floor=origin.synonym_floor,
        target=pair.target_text,
        competitor=pair.competitor_text,
    )


def with_kappa(origin: Origin, kappa: float) -> Origin:
    """Add the gap's rate.

    Raises:
        ArithmeticError: it is not finite.
    """
    if not math.isfinite(kappa):
        model = origin.problem.model
        raise ArithmeticError(f"the gap's rate kappa is {kappa} for the untouched model {model!r}")
    return dataclasses.replace(origin, kappa=kappa)
