"""Whether a look reads what the model itself says: some prompts of a look against each one alone.

It holds for everything that a wrapper or a method of fine-tuning may do to positions, padding or batches and that
nobody thought of here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from phantom_dist.core.errors import InputError
from phantom_dist.models.forward_state import memoryless
from phantom_dist.monitor.peft_method import method_of

EXACT, ROUNDED = 1e-4, 0.1
"""Largest root mean square of a difference in units of the logits' spread: in float32, and in anything coarser."""


def is_due(looks: int) -> bool:
    """Asked again as looks double: adapters that start at zero do nothing yet when a training begins."""
    return looks & (looks - 1) == 0


@torch.no_grad()
def check_own_value(model: Any, prompts: Sequence[tuple[int, ...]], logits_kV: Tensor) -> None:
    """Hold a look's logits (k, V) against the model's own; the model is in evaluation mode.

    Asked alone are the shortest and the longest prompt, and one of the length that most have.

    Raises:
        InputError: the answers differ, so a look would show numbers that aren't the model's.
    """
    lengths = Counter(map(len, prompts))
    some = {min(lengths), max(lengths), lengths.most_common(1)[0][0]}
    for place in (next(k for k, prompt in enumerate(prompts) if len(prompt) == length) for length in some):
        alone_V, allowed = _alone(model, prompts[place])
        if not bool(alone_V.isfinite().all()):
            return
        off = float((logits_kV[place] - alone_V).square().mean().sqrt() / alone_V.std().clamp_min(1e-6))
        if not off <= allowed:
            raise InputError(
                f"monitor: {method_of(model)} answers a prompt differently among others than alone (by {off:.2g} of "
                "its logits' spread), so this model is not watched"
            )


def _alone(model: Any, prompt: tuple[int, ...]) -> tuple[Tensor, float]:
    device = next(model.parameters()).device
    with memoryless(model):
        logits: Tensor = model(input_ids=torch.tensor([prompt], device=device), use_cache=False).logits[0, -1]
    parameters = {parameter.dtype for parameter in model.parameters()}
    rounded = device.type == "cuda" and torch.get_float32_matmul_precision() != "highest"
    rounded = rounded or torch.is_autocast_enabled(device.type)
    exact = parameters <= {torch.float32, torch.float64} and not rounded
    return logits.float(), EXACT if exact else ROUNDED
