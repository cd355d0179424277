"""The model's logits at the last position of one prompt."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def last_logits(model: Any, prompt: tuple[int, ...], forward: Callable[..., Any] | None = None) -> Tensor:
    """Logits after the whole prompt; shape (V,), the model's precision, differentiable.

    The readout of the other positions is skipped where the architecture supports that. `forward` is called instead of
    the model where something wraps it.
    """
    device = next(model.parameters()).device
    tokens_1K = torch.tensor([prompt], device=device)
    keep = {"logits_to_keep": 1} if keeps_logits(model) else {}
    logits_1KV: Tensor = (forward or model)(input_ids=tokens_1K, use_cache=False, **keep).logits
    return logits_1KV[0, -1]


def keeps_logits(model: Any) -> bool:
    """Whether the architecture can compute the logits of selected positions only (`logits_to_keep`)."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    # Mixed precision wraps `forward` on the instance; the class still has the original signature.
    return "logits_to_keep" in inspect.signature(type(base).forward).parameters
