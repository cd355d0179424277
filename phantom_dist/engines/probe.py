"""What the untouched model says about a problem: its tokens, overlaps, gap, the gap's rate κ; or a refusal.

Probes take the gradients of a training step, so they belong to the engines; the law sees their numbers only.
Cost: one forward and two backward passes (`Origin.PROBE_STEPS`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from phantom_dist.contexts import near_synonym, tokens
from phantom_dist.core.errors import Refusal
from phantom_dist.core.measurement import Origin
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.trial import Problem, Tokens
from phantom_dist.engines.forward import last_logits
from phantom_dist.engines.memory import out_of_memory_named
from phantom_dist.engines.trainable import Trainable, lora_targets, readout_matrix, trainable
from phantom_dist.instruments import kernel_rate, overlap, readout
from phantom_dist.models import LoadedModel


@dataclass(frozen=True, slots=True)
class Start:
    """The untouched model in one problem: its origin and, where asked for and not refused, what it learns from.

    `gradients`: ∇L of each trained parameter; `logits` (V,), float32, detached.
    """

    ready: Trainable
    origin: Origin
    logits: Tensor
    gradients: tuple[Tensor, ...] | None


def probe(loaded: LoadedModel, problem: Problem) -> Origin:
    """Measure the origin of one problem, and leave the model as it was.

    A pair that this model can't be trained on comes back with `refusal` and a message, not as an exception.

    Raises:
        InputError: a LoRA target that this model doesn't have.
        OutOfMemory: the gradients don't fit.
    """
    try:
        with started(loaded, problem, keep_gradients=False) as start:
            return start.origin
    except Refused as refused:
        return refused.origin


@contextmanager
def started(loaded: LoadedModel, problem: Problem, *, keep_gradients: bool) -> Iterator[Start]:
    """The model as the problem trains it, its origin measured by one forward and two backward passes.

    Raises:
        Refused: the pair can't be trained on.
        InputError: a LoRA target that this model doesn't have.
        OutOfMemory: the gradients don't fit.
    """
    targets = None if problem.lora is None else lora_targets(loaded.model, problem.lora)
    matrix = WholeReadout(readout_matrix(loaded.model))
    with out_of_memory_named():
        origin, prompt, target = read_context(loaded, problem, targets, matrix.width)
        with trainable(loaded, problem) as ready:
            logits_V = last_logits(ready.model, prompt).float()
            origin = with_pair(loaded, origin, prompt, target, logits_V.detach(), matrix)
            origin, gradients = _with_rate(ready, origin, logits_V, keep_gradients)
            yield Start(ready, origin, logits_V.detach(), gradients)


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
    """
    origin = Origin(problem=problem, identity=loaded.identity, lora_targets=targets, width=width)
    try:
        prompt, target = tokens.prompt_and_target(loaded.tokenizer, problem.context)
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
    try:
        centred_V = matrix.centred_overlap_row(target)
        floor = near_synonym.synonym_floor(overlap.row_rms(centred_V, target), thresholds)
        chosen = None
        if context.competitor == tokens.AUTO:
            admits = tokens.rival_test(loaded.tokenizer, context)
            chosen = near_synonym.choose_competitor(logits_V, centred_V, floor, target, admits)
        pair = tokens.tokenise(loaded.tokenizer, context, chosen)
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


def _with_rate(
    ready: Trainable, origin: Origin, logits_V: Tensor, keep_gradients: bool
) -> tuple[Origin, tuple[Tensor, ...] | None]:
    """Add κ = -⟨∇g, u⟩ over the parameters that the problem's method trains."""
    pair, problem = origin.tokens, origin.problem
    assert pair is not None
    target = torch.tensor(pair.target, device=logits_V.device)
    loss = nn.functional.cross_entropy(logits_V, target)
    gap = readout.logit_gap(logits_V, pair.target, pair.competitor)
    # A parameter that the loss doesn't depend on has gradient 0, and u = 0 but for its weight decay.
    gradients = torch.autograd.grad(loss, ready.parameters, retain_graph=True, materialize_grads=True)
    directions = [
        kernel_rate.first_direction(gradient, parameter.detach(), problem.optimizer)
        for gradient, parameter in zip(gradients, ready.parameters, strict=True)
    ]
    kept = gradients if keep_gradients else None
    del gradients
    return with_kappa(origin, -_slope_along(gap, ready.parameters, directions)), kept


def with_kappa(origin: Origin, kappa: float) -> Origin:
    """Add the gap's rate.

    Raises:
        ArithmeticError: it is not finite.
    """
    if not math.isfinite(kappa):
        model = origin.problem.model
        raise ArithmeticError(f"the gap's rate kappa is {kappa} for the untouched model {model!r}")
    return dataclasses.replace(origin, kappa=kappa)


def _slope_along(value: Tensor, parameters: tuple[nn.Parameter, ...], directions: list[Tensor]) -> float:
    """⟨∇value, u⟩ in float64. Each gradient is dropped as soon as it is used, so they never all exist at once."""
    terms: list[float] = []

    def take(parameter: Tensor, direction: Tensor) -> None:
        assert parameter.grad is not None
        terms.append(kernel_rate.inner_product(parameter.grad, direction))
        parameter.grad = None

    hooks = [
        parameter.register_post_accumulate_grad_hook(partial(take, direction=direction))
        for parameter, direction in zip(parameters, directions, strict=True)
    ]
    try:
        value.backward()
    finally:
        for hook in hooks:
            hook.remove()
    return sum(terms)
