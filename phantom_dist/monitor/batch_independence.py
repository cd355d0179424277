"""Checks that a prompt's logits don't depend on the other prompts of its batch, by running some prompts alone.

The check catches whatever a wrapper or a fine-tuning method may do to positions, padding or batches that the other
checks don't anticipate.
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
"""Largest allowed RMS difference over the logits' standard deviation: in float32 or finer, and in coarser formats."""


def is_due(looks: int) -> bool:
    """True at looks 0, 1, 2, 4, 8, …: adapters that start at zero have no effect yet when a training begins."""
    return looks & (looks - 1) == 0


@torch.no_grad()
def check_batch_independence(model: Any, prompts: Sequence[tuple[int, ...]], logits_kV: Tensor) -> None:
    """Compare a look's logits (k, V) with those of single prompts; the model must be in evaluation mode.

    Runs alone the shortest prompt, the longest, and one of the most frequent length.

    Raises:
        InputError: the logits differ, so a look would show values that the model doesn't have for the prompt alone.
    """
    lengths = Counter(map(len, prompts))
    tested = {min(lengths), max(lengths), lengths.most_common(1)[0][0]}
    for place in (next(k for k, prompt in enumerate(prompts) if len(prompt) == length) for length in tested):
        alone_V, allowed = _alone(model, prompts[place])
        if not bool(alone_V.isfinite().all()):
            return
        error = float((logits_kV[place] - alone_V).square().mean().sqrt() / alone_V.std().clamp_min(1e-6))
        if not error <= allowed:
            raise InputError(
                f"monitor: {method_of(model)} gives a prompt other logits in a batch than alone (by {error:.2g} of "
                f"their standard deviation; allowed: {allowed:g}), so this model is not watched"
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
