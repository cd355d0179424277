"""The torch optimizer of a trial's settings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from phantom_dist.core.trial import Optimizer


def torch_optimizer(parameters: Sequence[nn.Parameter], optimizer: Optimizer) -> torch.optim.Optimizer:
    """The torch optimizer of the settings; its learning rate is set at every step.

    Fused in float32: one pass over each tensor instead of several; the formulas are the same. Not in bfloat16, where
    torch 2.13's fused SGD on the CPU leaves most entries as they were.
    """
    fused = all(parameter.dtype is torch.float32 for parameter in parameters)
    if optimizer.name == "sgd":
        return torch.optim.SGD(
            parameters, lr=0.0, momentum=optimizer.momentum, weight_decay=optimizer.weight_decay, fused=fused
        )
    return torch.optim.AdamW(
        parameters,
        lr=0.0,
        betas=(optimizer.beta1, optimizer.beta2),
        eps=optimizer.epsilon,
        weight_decay=optimizer.weight_decay,
        fused=fused,
    )
