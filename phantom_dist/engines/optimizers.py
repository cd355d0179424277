"""The torch optimizer of a trial's settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import torch
from torch import nn

from phantom_dist.core.trial import Optimizer


def torch_optimizer(parameters: Sequence[nn.Parameter], optimizer: Optimizer) -> torch.optim.Optimizer:
    """The torch optimizer of the settings; its learning rate is set at every step.

    SGD and AdamW are fused in float32: one pass over each tensor instead of several; the formulas are the same. Not in
    bfloat16, where torch 2.13's fused SGD on the CPU leaves most entries as they were.
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
    """The settings as torch's class takes them, and as they stand in its parameter groups; no learning rate."""
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
