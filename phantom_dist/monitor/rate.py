"""What the law says of the learning rate in use: Π = η T κ / |g| against the range of Π_c that was calibrated.

κ is measured where training stands, η T is the sum of the learning rates to come, and g is the gap that is left:
to first order a training on this context alone would close it by its end at Π = 1. The law was calibrated on exactly
that, one context and a constant rate from the untouched model; for batches of text it is an indication, no more. Our
reconstruction, not the paper's. Cost: one forward and two backward passes of one prompt.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phantom_dist.core.trial import Optimizer, Tokens
from phantom_dist.instruments import kernel_rate, readout
from phantom_dist.law.file import read_law
from phantom_dist.monitor.look import logits_of
from phantom_dist.monitor.peft_method import text_positions
from phantom_dist.monitor.undisturbed import undisturbed

INDICATION = (
    "the law is calibrated on training on one context alone at a constant rate; here it is an indication"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class LawSays:
    """Π for what is left of the training, and the range that nine of ten calibrated critical rates fell into.

    `in_domain` is False for batches of text; `reason` says why.
    """

    pi: float
    pi_c: tuple[float, float]
    way: str
    kappa: float
    in_domain: bool
    reason: str


def law_says(model: Any, optimizer: Any, pair: Tokens, left: float) -> LawSays | None:
    """The law's word on steps whose learning rates add up to `left`; None where it has none.

    It has none for an optimizer that is neither SGD nor Adam's kind, for a class without calibration, at the last step.
    """
    settings = optimizer_settings(optimizer)
    if settings is None or left <= 0:
        return None
    way = f"{_method(model)} {settings.name}"
    known = pi_c_range(way)
    if known is None:
        return None
    kappa, gap = _kappa(model, pair, settings)
    built_up = 1 / (1 - settings.momentum)
    return LawSays(
        pi=kernel_rate.dimensionless_rate(left, built_up, kappa, gap),
        pi_c=known,
        way=way,
        kappa=kappa,
        in_domain=False,
        reason=INDICATION,
    )


def carries_hooks(model: Any) -> bool:
    """Whether a backward pass through the model calls somebody's hooks, on its parameters or its modules."""
    return any(parameter._backward_hooks for parameter in model.parameters()) or any(
        module._backward_hooks or module._backward_pre_hooks for module in model.modules()
    )


def optimizer_settings(optimizer: Any) -> Optimizer | None:
    """The settings of a torch optimizer's first group; None where it is neither SGD nor Adam's kind.

    Weight decay is left out: the gap's own rate is asked for.
    """
    inner = getattr(optimizer, "optimizer", optimizer)  # accelerate and Lightning wrap it
    name = type(inner).__name__.lower()
    if inner is None or not getattr(inner, "param_groups", None):
        return None
    group = inner.param_groups[0]
    if "adam" in name:
        return Optimizer(name="adamw", epsilon=group.get("eps", 1e-8))
    if name == "sgd":
        return Optimizer(name="sgd", momentum=group.get("momentum", 0.0))
    return None


@functools.cache
def pi_c_range(way: str) -> tuple[float, float] | None:
    """The fifth and the ninety-fifth percentile of Π_c over the shipped law's calibration; None for another way."""
    rows = [row for row in read_law().rows if row.training_class == way]
    if not rows:
        return None
    values = [
        kernel_rate.dimensionless_rate(row.eta_c, probed.effective_steps, probed.kappa, probed.gap_0)
        for row, probed in ((row, row.law_input) for row in rows)
    ]
    low, high = np.quantile(values, [0.05, 0.95])
    return float(low), float(high)


def _method(model: Any) -> str:
    return "lora" if hasattr(model, "peft_config") else "full"


def _kappa(model: Any, pair: Tokens, optimizer: Optimizer) -> tuple[float, float]:
    """κ = -⟨∇g, u⟩ (logits per step per unit learning rate) and g, at the present weights; no `.grad` is touched."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with undisturbed(model, gradients=True):
        logits_V = logits_of(text_positions(model), [pair.prompt])[0]
        gap = readout.logit_gap(logits_V, pair.target, pair.competitor)
        loss = torch.nn.functional.cross_entropy(logits_V, torch.tensor(pair.target, device=logits_V.device))
        slopes = _gradients(loss, parameters, keep=True)
        directions = [
            kernel_rate.first_direction(slope, parameter.detach(), optimizer)
            for slope, parameter in zip(slopes, parameters, strict=True)
        ]
        del slopes
        rises = _gradients(gap, parameters, keep=False)
    kappa = -sum(map(kernel_rate.inner_product, rises, directions))
    return kappa, gap.item()


def _gradients(value: Tensor, parameters: list[Any], *, keep: bool) -> tuple[Tensor, ...]:
    return torch.autograd.grad(value, parameters, retain_graph=keep, materialize_grads=True)
