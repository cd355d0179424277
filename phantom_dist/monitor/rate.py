"""The learning rate in use against the law: Π = η T κ / |g| beside the range of Π_c that the law was calibrated on.

κ is measured at the present weights, η T is the sum of the remaining learning rates, and g is the present gap: to first
order, training on this context alone closes the gap exactly at the end where Π = 1. The law was calibrated on just
that: one context, a constant rate, starting from the untouched model. For batches of text it is only an indication. The
formula is our reconstruction, not the paper's. Cost: one forward and two backward passes of one prompt.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from phantom_dist.core.tokens import Tokens
from phantom_dist.core.trial import Optimizer
from phantom_dist.instruments import kernel_rate, readout
from phantom_dist.instruments.effective_steps import dimensionless_rate
from phantom_dist.instruments.word_prompts import read_word, word_gap, word_loss
from phantom_dist.law.file import read_law
from phantom_dist.monitor.look import logits_of
from phantom_dist.monitor.peft_method import text_positions
from phantom_dist.monitor.undisturbed import undisturbed

INDICATION = (
    "the law is calibrated on training on one context alone at a constant rate; here it is an indication"
)

_BITS = ("", "4bit", "8bit", "32bit", "fp8")
ADAM = {"fusedadam", "deepspeedcpuadam", *(f"{paged}adam{bits}" for paged in ("", "paged") for bits in _BITS)}
ADAMW = {"anyprecisionadamw", *(f"{paged}adamw{bits}" for paged in ("", "paged") for bits in _BITS)}
"""Class names, in lower case, of the optimizers whose step is Adam's: torch, apex, DeepSpeed, bitsandbytes, torchao.

An allow-list, since a name that contains `adam` promises nothing: Adamax, NAdam, RAdam, Adam-mini, GaLore's or the
schedule-free ones take other steps, so that κ would be silently wrong for them.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class LawComparison:
    """Π for the rest of the training, and the range that holds nine of ten calibrated critical rates.

    Attributes:
        pi: Π, dimensionless.
        pi_c: the range of Π_c: fifth and ninety-fifth percentile.
        training_class: the law's class: method and optimizer, such as `lora adamw`.
        kappa: κ, in logits per step and unit learning rate.
        in_domain: False for batches of text.
        reason: why it is not in the domain.
    """

    pi: float
    pi_c: tuple[float, float]
    training_class: str
    kappa: float
    in_domain: bool
    reason: str

    def to_json(self) -> dict[str, Any]:
        """The object `law` of a warning's row in the record, where the class is called `way`."""
        return {
            "pi": self.pi,
            "pi_c": self.pi_c,
            "way": self.training_class,
            "kappa": self.kappa,
            "in_domain": self.in_domain,
            "reason": self.reason,
        }


def compare_with_law(model: Any, optimizer: Any, pair: Tokens, left: float) -> LawComparison | None:
    """Compare the remaining steps, whose learning rates add up to `left`, with the law.

    None where the law doesn't apply: for an optimizer or a method of peft that it doesn't know (`optimizer_settings`,
    `_method`), for a class without calibration, and at the last step.
    """
    settings, method = optimizer_settings(optimizer), _method(model)
    if settings is None or method is None or left <= 0:
        return None
    training_class = f"{method} {settings.name}"
    pi_c = pi_c_range(training_class)
    if pi_c is None:
        return None
    kappa, gap = _kappa(model, pair, settings)
    built_up = 1 / (1 - settings.momentum)
    return LawComparison(
        pi=dimensionless_rate(left, built_up, kappa, gap),
        pi_c=pi_c,
        training_class=training_class,
        kappa=kappa,
        in_domain=False,
        reason=INDICATION,
    )


def carries_hooks(model: Any) -> bool:
    """Whether a backward pass through the model calls hooks of the user, on its parameters or its modules."""
    return any(parameter._backward_hooks for parameter in model.parameters()) or any(
        module._backward_hooks or module._backward_pre_hooks for module in model.modules()
    )


def optimizer_settings(optimizer: Any) -> Optimizer | None:
    """The settings of an optimizer's first group; None where it is neither SGD nor Adam or AdamW (`ADAM`, `ADAMW`).

    None as well where a setting makes it take other steps: `maximize`, SGD's dampening, and Adam's weight decay where
    the gradient includes it, for then each step is the sign of a sum. Decoupled weight decay is left out: Π is about
    the gap's own rate.
    """
    inner = getattr(optimizer, "optimizer", optimizer)  # accelerate and Lightning wrap it
    name = type(inner).__name__.lower()
    if inner is None or not getattr(inner, "param_groups", None):
        return None
    group = inner.param_groups[0]
    if group.get("maximize"):
        return None
    if name in ADAMW or (name in ADAM and not _decays_in_the_gradient(inner, group)):
        return Optimizer(name="adamw", epsilon=group.get("eps", 1e-8))
    if name == "sgd" and not group.get("dampening"):
        return Optimizer(name="sgd", momentum=group.get("momentum", 0.0))
    return None


def _decays_in_the_gradient(optimizer: Any, group: Mapping[str, Any]) -> bool:
    """Whether Adam adds its weight decay to the gradient; torch, and apex and DeepSpeed, mark where it is decoupled."""
    decoupled = group.get("decoupled_weight_decay") or getattr(optimizer, "adam_w_mode", False)
    return bool(group.get("weight_decay")) and not decoupled


@functools.cache
def pi_c_range(training_class: str) -> tuple[float, float] | None:
    """The fifth and the ninety-fifth percentile of Π_c over the shipped law's calibration; None for another class."""
    rows = [row for row in read_law().rows if row.training_class == training_class]
    if not rows:
        return None
    values = [
        dimensionless_rate(row.eta_c, probed.effective_steps, probed.kappa, probed.gap_0)
        for row, probed in ((row, row.law_input) for row in rows)
    ]
    low, high = np.quantile(values, [0.05, 0.95])
    return float(low), float(high)


def _method(model: Any) -> str | None:
    """`full`, or `lora` where each adapter is plain LoRA; None for any other method of peft, DoRA included."""
    configs = getattr(model, "peft_config", None)
    if not configs:
        return "full"
    plain = all(c.peft_type.value == "LORA" and not getattr(c, "use_dora", False) for c in configs.values())
    return "lora" if plain else None


def _kappa(model: Any, pair: Tokens, optimizer: Optimizer) -> tuple[float, float]:
    """κ = -⟨∇g, u⟩ (logits per step per unit learning rate) and the gap g (logits), at the present weights.

    u is the optimizer's first step direction for the loss on this context alone. Leaves every `.grad` as it is.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with undisturbed(model, gradients=True):
        logits_V, rests_3 = read_word(logits_of(text_positions(model), pair.prompts), pair)
        gap = word_gap(readout.logit_gap(logits_V, pair.target, pair.competitor), rests_3)
        target = torch.tensor(pair.target, device=logits_V.device)
        loss = word_loss(torch.nn.functional.cross_entropy(logits_V, target), rests_3)
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
