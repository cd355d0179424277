"""Mixed precision: the forward pass in bfloat16, everything else in the weights' float32."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def autocast(device: torch.device, is_mixed: bool) -> AbstractContextManager[object]:
    """Within, matrix products are computed in bfloat16, and what torch lists as sensitive in float32; or nothing.

    As transformers' `Trainer` with `bf16=True`, which wraps the model's forward pass with it. The logits are bfloat16.
    """
    if not is_mixed:
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)
