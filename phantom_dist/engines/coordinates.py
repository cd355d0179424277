"""The vector space in which a probe moves: displacements from the untouched weights θ_0, and gradients.

A vector of `ParameterCoordinates` has one number for every trained parameter. Full fine-tuning under SGD stays in the
span of a few gradients, so there a vector can hold the coefficients of these gradients instead
(`lanes.dual_coordinates`), which is far cheaper. The walks work with either.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from phantom_dist.core.tokens import Tokens
from phantom_dist.core.trial import Problem
from phantom_dist.engines.objective import gap_of, loss_of
from phantom_dist.engines.optimizers import clip_scale, undecayed_parameters
from phantom_dist.engines.precision import autocast
from phantom_dist.engines.trainable import Trainable
from phantom_dist.instruments.kernel_rate import first_direction, gradient_norm, inner_product
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

    def logits(self, moved: Tensor) -> Tensor:
        """The logits (V,), float32, after the first of the prompts at θ_0 − moved; differentiable."""
        ...

    def gradient(self, value: Tensor) -> Tensor:
        """The gradient (n,) of a number that was computed from the last logits."""
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

    @functools.cached_property
    def origin(self) -> Tensor:
        """See `Coordinates`."""
        return _concatenated(parameter.detach() for parameter in self._ready.parameters)

    def untouched_logits(self) -> Tensor:
        """See `Coordinates`."""
        return torch.stack([self._logits(prompt) for prompt in self._prompts])

    def _logits(self, prompt: tuple[int, ...]) -> Tensor:
        with autocast(self._ready.readout_Vd.device, self._problem.is_mixed):
            return last_logits(self._ready.model, prompt).float()

    def first_order(self, logits_PV: Tensor, pair: Tokens, *, keep: bool) -> tuple[float, Tensor | None]:
        """See `Coordinates`."""
        # κ = −⟨∇g, u⟩, u from ∇L. One forward pass serves both gradients.
        parameters = self._ready.parameters
        logits_V, rests_3 = read_word(logits_PV, pair)
        # A parameter that the loss doesn't depend on has gradient 0, and u = 0 but for its weight decay.
        gradients = self._loss_gradients or torch.autograd.grad(
            loss_of(logits_V, pair, rests_3), parameters, retain_graph=True, materialize_grads=True
        )
        directions = list(self._first_directions(gradients))
        kept = _concatenated(gradients) if keep else None
        del gradients  # frees N numbers before the second backward pass
        return -slope_along(gap_of(logits_V, pair, rests_3), parameters, directions), kept

    def _first_directions(self, gradients: Sequence[Tensor]) -> Iterator[Tensor]:
        """u for each parameter, from ∇L, clipped as the problem says."""
        parameters, optimizer, largest = (
            self._ready.parameters,
            self._problem.optimizer,
            self._problem.gradient_clipping,
        )
        scale = 1.0 if largest is None else clip_scale(gradient_norm(gradients), largest)
        undecayed = undecayed_parameters(self._ready.model) if self._problem.decays_apart else ()
        apart = {id(parameter) for parameter in undecayed}
        without_decay = optimizer.model_copy(update={"weight_decay": 0.0, "decay": "all"})
        for gradient, parameter in zip(gradients, parameters, strict=True):
            own = without_decay if id(parameter) in apart else optimizer
            yield first_direction(gradient if scale == 1.0 else gradient * scale, parameter.detach(), own)

    def logits(self, moved: Tensor) -> Tensor:
        """See `Coordinates`."""
        start = 0
        with torch.no_grad():
            for parameter in self._ready.parameters:
                part = slice(start, start + parameter.numel())
                parameter.copy_((self.origin[part] - moved[part]).view_as(parameter))
                start += parameter.numel()
        return self._logits(self._prompts[0])

    def gradient(self, value: Tensor) -> Tensor:
        """See `Coordinates`; 0 where the value doesn't depend on a parameter."""
        return _concatenated(torch.autograd.grad(value, self._ready.parameters, materialize_grads=True))

    def inner(self, a: Tensor, b: Tensor) -> float:
        """See `Coordinates`."""
        return inner_product(a, b)


def slope_along(value: Tensor, parameters: tuple[nn.Parameter, ...], directions: list[Tensor]) -> float:
    """⟨∇value, u⟩ in float64. A hook uses and drops each gradient as it arrives, so they never all exist at once."""
    terms: list[float] = []

    def take(parameter: Tensor, direction: Tensor) -> None:
        assert parameter.grad is not None
        terms.append(inner_product(parameter.grad, direction))
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


def _concatenated(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])
