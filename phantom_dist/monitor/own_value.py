"""Whether a look reads what the model itself says: two prompts as a look asks them, against each one alone.

It holds for everything that a wrapper or a method of fine-tuning may do to positions, padding or batches and that
nobody thought of here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from phantom_dist.core.errors import InputError
from phantom_dist.monitor.look import last_logits
from phantom_dist.monitor.peft_method import method_of, text_positions

EXACT, ROUNDED = 1e-4, 0.1
"""Largest root mean square of a difference in units of the logits' spread: in float32, and in anything coarser."""


def is_due(looks: int) -> bool:
    """Asked again as looks double: adapters that start at zero do nothing yet when a training begins."""
    return looks >= 2 and looks & (looks - 1) == 0


@torch.no_grad()
def check_own_value(model: Any, prompts: Sequence[tuple[int, ...]]) -> None:
    """Ask the shortest and the longest prompt together and alone; the model is in evaluation mode.

    Raises:
        InputError: the answers differ, so a look would show numbers that aren't the model's.
    """
    some = sorted({min(prompts, key=len), max(prompts, key=len)}, key=len)
    together_kV = last_logits(text_positions(model), some)
    for prompt, together_V in zip(some, together_kV, strict=True):
        alone_V, allowed = _alone(model, prompt)
        if not bool(alone_V.isfinite().all()):
            return
        difference = float((together_V - alone_V).square().mean().sqrt() / alone_V.std().clamp_min(1e-6))
        if difference > allowed:
            raise InputError(
                f"monitor: {method_of(model)} answers a prompt differently in a padded batch than alone (by "
                f"{difference:.2g} of its logits' spread), so this model is not watched"
            )


def _alone(model: Any, prompt: tuple[int, ...]) -> tuple[Tensor, float]:
    device = next(model.parameters()).device
    logits: Tensor = model(input_ids=torch.tensor([prompt], device=device), use_cache=False).logits[0, -1]
    parameters = {parameter.dtype for parameter in model.parameters()}
    rounded = device.type == "cuda" and torch.get_float32_matmul_precision() != "highest"
    rounded = rounded or torch.is_autocast_enabled(device.type)
    exact = parameters <= {torch.float32, torch.float64} and not rounded
    return logits.float(), EXACT if exact else ROUNDED
