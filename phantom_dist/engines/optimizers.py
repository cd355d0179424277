"""From a trial's optimizer settings to the torch optimizer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, assert_never

import torch
from torch import nn
from transformers.trainer_pt_utils import get_parameter_names

from phantom_dist.core.trial import Optimizer


def torch_optimizer(
    parameters: Sequence[nn.Parameter], optimizer: Optimizer, undecayed: Collection[nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """The torch optimizer with these settings; the training loop sets its learning rate at every step.

    `undecayed` parameters get no weight decay.

    In float32 SGD and AdamW are fused: one pass over each tensor instead of several, with the same formulas. Not in
    bfloat16: there torch 2.13's fused SGD on the CPU leaves most entries unchanged.
    """
    fused = all(parameter.dtype is torch.float32 for parameter in parameters)
    settings = torch_settings(optimizer)
    apart = {id(parameter) for parameter in undecayed}
    groups: Any = [
        {"params": [parameter for parameter in parameters if id(parameter) not in apart]},
        {"params": list(undecayed), "weight_decay": 0.0},
    ]
    match optimizer.name:
        case "sgd":
            return torch.optim.SGD(groups if apart else parameters, lr=0.0, fused=fused, **settings)
        case "adamw":
            return torch.optim.AdamW(groups if apart else parameters, lr=0.0, fused=fused, **settings)
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


NORMS_AND_BIASES = (r"bias", r"layernorm", r"rmsnorm", r"(?:^|\.)norm(?:$|\.)", r"_norm(?:$|\.)")
"""Names of parameters that transformers 5.23's `Trainer.get_decay_parameter_names` leaves out, beside LayerNorms'."""


def undecayed_parameters(model: nn.Module) -> tuple[nn.Parameter, ...]:
    """The trained parameters to which transformers' Trainer applies no weight decay: those of norms, and biases."""
    decayed = set(get_parameter_names(model, [nn.LayerNorm], list(NORMS_AND_BIASES)))
    trained = ((name, p) for name, p in model.named_parameters() if p.requires_grad)
    return tuple(parameter for name, parameter in trained if name not in decayed)


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
