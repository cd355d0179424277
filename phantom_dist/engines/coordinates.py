"""The vector space in which a probe moves: displacements from the untouched weights θ_0, and gradients.

A vector of `ParameterCoordinates` has one number for every trained parameter. Full fine-tuning under SGD stays in the
span of a few gradients, so there a vector can hold the coefficients of these gradients instead
(`lanes.dual_coordinates`), which is far cheaper. The walks work with either.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from phantom_dist.core.tokens import Tokens
from phantom_dist.core.trial import Problem
from phantom_dist.engines import kept_memory
from phantom_dist.engines.objective import gap_of, loss_of
from phantom_dist.engines.optimizers import clip_scale, undecayed_parameters
from phantom_dist.engines.precision import autocast
from phantom_dist.engines.trainable import Trainable
from phantom_dist.instruments.kernel_rate import along_first_direction, gradient_norm, inner_product
from phantom_dist.instruments.word_prompts import read_word
from phantom_dist.models.last_logits import last_logits


class FirstOrder(Protocol):
    """The untouched model in one context, and the rate at which its gap begins to change."""

    def untouched_logits(self) -> Tensor:
        """The logits (P, V), float32, at θ_0 after each of the context's prompts (`WordPrompts`); differentiable."""
        ...

    def first_order(self, logits_PV: Tensor, pair: Tokens, *, keep: bool) -> tuple[float, Tensor | None]:
        """κ = -⟨∇g, u⟩ at θ_0 from the logits there, u the optimizer's first direction; and ∇L (n,), if `keep`."""
        ...


class Coordinates(FirstOrder, Protocol):
    """Displacements from θ_0 and gradients as vectors (n,).

    Each call's logits serve once: for one `gradient`, for `first_order`, or for none.
    """

    @property
    def origin(self) -> Tensor:
        """θ_0 (n,)."""
        ...

    @property
    def decaying(self) -> Tensor:
        """θ_0 (n,) where the optimizer's weight decay applies, 0 elsewhere."""
        ...

    def logits(self, moved: Tensor) -> Tensor:
        """The logits (P, V), float32, after each of the prompts at θ_0 − moved; differentiable."""
        ...

    def gradient(self, value: Tensor) -> Tensor:
        """The gradient (n,) of a number that was computed from the last logits."""
        ...

    def new_vector(self) -> Tensor:
        """An uninitialised vector (n,), which lives as long as the coordinates."""
        ...

    def inner(self, a: Tensor, b: Tensor) -> float:
        """⟨a, b⟩ over all trained parameters."""
        ...


class ParameterCoordinates:
    """`Coordinates` with one number for every trained parameter: the parameters flattened and concatenated.

    Args:
        ready: the model as a method trains it.
        prompts: those of the context (`WordPrompts`).
        problem: its optimizer, clipping and precision determine u, the first direction.
        loss_gradients: with a training set, ∇L of its loss at θ_0, one tensor for each parameter; else L is the
            context's own.
    """

    def __init__(
        self,
        ready: Trainable,
        prompts: Sequence[tuple[int, ...]],
        problem: Problem,
        loss_gradients: Sequence[Tensor] | None = None,
    ) -> None:
        self._ready, self._prompts, self._problem = ready, prompts, problem
        self._loss_gradients = loss_gradients
        self._memory: list[Tensor] = []

    def close(self) -> None:
        """Leave the gradients' memory to the next probe; they can't be used any more."""
        kept_memory.give_back(self._memory)
        self._memory.clear()

    @functools.cached_property
    def origin(self) -> Tensor:
        """See `Coordinates`."""
        if self._ready.untouched_N is not None:
            return self._ready.untouched_N
        return torch.cat([parameter.detach().reshape(-1) for parameter in self._ready.parameters])

    @functools.cached_property
    def decaying(self) -> Tensor:
        """See `Coordinates`."""
        if not self._undecayed:
            return self.origin
        decaying_N = self.origin.clone()
        for parameter, part in zip(self._ready.parameters, decaying_N.split(self._sizes), strict=True):
            if id(parameter) in self._undecayed:
                part.zero_()
        return decaying_N

    @functools.cached_property
    def _undecayed(self) -> set[int]:
        """Identities of the trained parameters without weight decay beside others that have it."""
        undecayed = undecayed_parameters(self._ready.model) if self._problem.decays_apart else ()
        return {id(parameter) for parameter in undecayed}

    def untouched_logits(self) -> Tensor:
        """See `Coordinates`."""
        with autocast(self._ready.readout_Vd.device, self._problem.is_mixed):
            return torch.stack([last_logits(self._ready.model, prompt).float() for prompt in self._prompts])

    def first_order(self, logits_PV: Tensor, pair: Tokens, *, keep: bool) -> tuple[float, Tensor | None]:
        """See `Coordinates`."""
        # κ = −⟨∇g, u⟩, u from ∇L. One forward pass serves both gradients.
        logits_V, rests_3 = read_word(logits_PV, pair)
        if self._loss_gradients is None:
            loss_N = self._gradient(loss_of(logits_V, pair, rests_3), retain_graph=True)
        else:
            loss_N = torch.cat([part.reshape(-1) for part in self._loss_gradients])
        parts = dict(zip(self._ready.parameters, loss_N.split(self._sizes), strict=True))
        optimizer, largest = self._problem.optimizer, self._problem.gradient_clipping
        scale = 1.0 if largest is None else clip_scale(gradient_norm(parts.values()), largest)
        without_decay = optimizer.without_decay
        terms: list[float] = []

        def take(parameter: nn.Parameter, gap: Tensor) -> None:
            own = without_decay if id(parameter) in self._undecayed else optimizer
            terms.append(along_first_direction(gap, parts[parameter], parameter.detach(), own, scale))

        _backward(gap_of(logits_V, pair, rests_3), self._ready.parameters, take)
        return -sum(terms), loss_N if keep else None

    @property
    def _sizes(self) -> list[int]:
        return [parameter.numel() for parameter in self._ready.parameters]

    def logits(self, moved: Tensor) -> Tensor:
        """See `Coordinates`."""
        parts = zip(
            self._ready.parameters, self.origin.split(self._sizes), moved.split(self._sizes), strict=True
        )
        for parameter, origin, part in parts:
            torch.sub(origin.view_as(parameter), part.view_as(parameter), out=parameter.data)
        return self.untouched_logits()

    def gradient(self, value: Tensor) -> Tensor:
        """See `Coordinates`; 0 where the value doesn't depend on a parameter."""
        return self._gradient(value)

    def _gradient(self, value: Tensor, *, retain_graph: bool = False) -> Tensor:
        """∇value; each parameter's part is copied as soon as it is there, so no second gradient ever exists."""
        whole_N = self.new_vector()
        parts = dict(zip(self._ready.parameters, whole_N.split(self._sizes), strict=True))

        def take(parameter: nn.Parameter, gradient: Tensor) -> None:
            parts.pop(parameter).copy_(gradient.reshape(-1))

        _backward(value, self._ready.parameters, take, retain_graph=retain_graph)
        for part in parts.values():  # the value doesn't depend on these
            part.zero_()
        return whole_N

    def new_vector(self) -> Tensor:
        """See `Coordinates`."""
        self._memory.append(kept_memory.take(len(self.origin), self.origin))
        return self._memory[-1][: len(self.origin)]

    def inner(self, a: Tensor, b: Tensor) -> float:
        """See `Coordinates`."""
        return inner_product(a, b)


def _backward(
    value: Tensor,
    parameters: Iterable[nn.Parameter],
    take: Callable[[nn.Parameter, Tensor], None],
    *,
    retain_graph: bool = False,
) -> None:
    """A backward pass that hands over each parameter's gradient as it arrives and drops it."""

    def hand_over(parameter: Tensor) -> None:
        assert isinstance(parameter, nn.Parameter)
        assert parameter.grad is not None
        take(parameter, parameter.grad)
        parameter.grad = None

    hooks = [parameter.register_post_accumulate_grad_hook(hand_over) for parameter in parameters]
    try:
        value.backward(retain_graph=retain_graph)
    finally:
        for hook in hooks:
            hook.remove()
