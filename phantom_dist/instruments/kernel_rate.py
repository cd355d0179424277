"""The gap's rate κ, effective steps T, the dimensionless rate Π = η T κ / |g_0| (README.md of this folder).

u is the optimizer's first step direction per unit learning rate: θ_1 = θ_0 - η u.
κ = -⟨∇g, u⟩ is the gap's rate per step per unit learning rate. To first order a trial commits when Π = 1.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

import torch
from torch import Tensor

from phantom_dist.core.trial import Optimizer, Schedule

_BLOCK = 1 << 15
"""Entries to convert to float64 at a time, which stay in a core's cache."""

_GPU_BLOCK = 1 << 24
"""The same on a GPU, where each sum waits for the device."""


def first_direction(gradient: Tensor, parameter: Tensor, optimizer: Optimizer) -> Tensor:
    """u for one parameter, in its shape: SGD ∇L, AdamW ∇L / (|∇L| + ε); weight decay λ adds λ θ.

    Where |∇L| is far above ε, AdamW's first step is the sign of ∇L: bias correction makes m̂ = ∇L and v̂ = ∇L².
    """
    match optimizer.name:
        case "sgd":
            direction = gradient
        case "adamw":
            direction = gradient / (gradient.abs() + optimizer.epsilon)
        case _:
            assert_never(optimizer.name)
    return direction + optimizer.weight_decay * parameter if optimizer.weight_decay else direction


def built_up(step: int, optimizer: Optimizer) -> float:
    """Step s ≥ 1 as a multiple of the first direction u, for a constant gradient and without weight decay.

    SGD: (1 - μ^s)/(1 - μ), as momentum μ (dampening 0) builds up. AdamW: 1, as its moments are bias-corrected.
    """
    match optimizer.name:
        case "sgd":
            momentum = optimizer.momentum
            return 1.0 if momentum == 0 else (1 - momentum**step) / (1 - momentum)
        case "adamw":
            return 1.0
        case _:
            assert_never(optimizer.name)


def inner_product(a: Tensor, b: Tensor) -> float:
    """⟨a, b⟩ over all entries of two tensors of one shape, summed in float64; κ = -⟨∇g, u⟩ is a sum of these."""
    pairs = zip(*_blocks(a, b), strict=True)
    return sum(float(torch.dot(x.double(), y.double())) for x, y in pairs)


def along_first_direction(
    other: Tensor, gradient: Tensor, parameter: Tensor, optimizer: Optimizer, scale: float = 1.0
) -> float:
    """⟨other, u⟩ of tensors of one size in float64, u the first direction on the gradient times `scale`."""
    parts = _blocks(other, gradient, parameter)
    total = 0.0
    for other_n, own_n, at_n in zip(*parts, strict=True):
        direction_n = first_direction(own_n if scale == 1.0 else own_n * scale, at_n, optimizer)
        total += inner_product(other_n, direction_n)
    return total


def _blocks(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """Each tensor, flattened, in blocks."""
    size = _BLOCK if tensors[0].device.type == "cpu" else _GPU_BLOCK
    return [tensor.reshape(-1).split(size) for tensor in tensors]


def effective_steps(steps: int, schedule: Schedule, optimizer: Optimizer) -> float:
    """T: the number of full steps along u that the trial amounts to, for a constant gradient; dimensionless.

    Σ_s (η_s/η) b_s with b_s as in `built_up`.
    """
    factors = enumerate(schedule.factors(steps), start=1)
    return sum(factor * built_up(step, optimizer) for step, factor in factors)


def dimensionless_rate(learning_rate: float, effective_steps: float, kappa: float, gap_0: float) -> float:
    """Π = η T κ / |g_0|, dimensionless; 1 where first order predicts the commitment. NaN if g_0 = 0."""
    return learning_rate * effective_steps * kappa / abs(gap_0) if gap_0 else float("nan")


def gradient_norm(gradients: Iterable[Tensor | None]) -> float:
    """‖∇L‖₂ over all trained parameters, in nats per unit of parameter."""
    norms = [torch.linalg.vector_norm(g.float()) for g in gradients if g is not None]
    return float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0
