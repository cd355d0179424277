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
