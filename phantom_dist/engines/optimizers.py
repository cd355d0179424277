"""From a trial's optimizer settings to the torch optimizer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import torch
from torch import nn

from phantom_dist.core.trial import Optimizer


def torch_optimizer(parameters: Sequence[nn.Parameter], optimizer: Optimizer) -> torch.optim.Optimizer:
    """The torch optimizer with these settings; the training loop sets its learning rate at every step.

    In float32 SGD and AdamW are fused: one pass over each tensor instead of several, with the same formulas. Not in
    bfloat16: there torch 2.13's fused SGD on the CPU leaves most entries unchanged.
    """
    fused = all(parameter.dtype is torch.float32 for parameter in parameters)
    settings = torch_settings(optimizer)
    match optimizer.name:
        case "sgd":
            return torch.optim.SGD(parameters, lr=0.0, fused=fused, **settings)
        case "adamw":
            return torch.optim.AdamW(parameters, lr=0.0, fused=fused, **settings)
        case _:
            assert_never(optimizer.name)


CLIPPING_EPSILON = 1e-6
"""Added to the norm, as `torch.nn.utils.clip_grad_norm_` does."""


def clip_scale(norm: float, largest: float | None) -> float:
    """What a gradient of this norm is multiplied by so that it has at most the largest: min(1, c / (‖∇L‖ + 1e-6)).

    That is `torch.nn.utils.clip_grad_norm_`'s factor; NaN for a norm that is NaN.
    """
    if largest is None:
        return 1.0
    scale = largest / (norm + CLIPPING_EPSILON)
    return 1.0 if scale >= 1.0 else scale


def torch_settings(optimizer: Optimizer) -> dict[str, Any]:
    """The settings as keyword arguments of torch's class, and as keys of its parameter groups; no learning rate."""
    match optimizer.name:
        case "sgd":
            return {"momentum": optimizer.momentum, "weight_decay": optimizer.weight_decay}
        case "adamw":
            return {
                "betas": (optimizer.beta1, optimizer.beta2),
                "eps": optimizer.epsilon,
                "weight_decay": optimizer.weight_decay,
            }
        case _:
            assert_never(optimizer.name)
