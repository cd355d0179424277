"""The gap's rate κ (README.md of this folder).

u is the optimizer's first step direction per unit learning rate: θ_1 = θ_0 - η u.
κ = -⟨∇g, u⟩ is the gap's rate per step per unit learning rate.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

import torch
from torch import Tensor

from phantom_dist.core.trial import Optimizer

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


def gradient_norm(gradients: Iterable[Tensor | None]) -> float:
    """‖∇L‖₂ over all trained parameters, in nats per unit of parameter."""
    norms = [torch.linalg.vector_norm(g.float()) for g in gradients if g is not None]
    return float(torch.linalg.vector_norm(torch.stack(norms))) if norms else 0.0
