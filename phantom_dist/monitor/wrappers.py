"""What training frameworks put around a model and a process."""

from __future__ import annotations

from typing import Any

import torch


def unwrapped(model: Any) -> Any:
    """The model itself from under DDP's and torch.compile's wrappers."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and isinstance(model, torch.nn.parallel.DistributedDataParallel):
            inner = model.module
        if inner is None:
            return model
        model = inner


def is_first_process() -> bool:
    """True for rank 0 of the default group, and where there is none."""
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def wait_for_kernels(model: Any) -> None:
    """Kernels of the training step that are still running are not the monitor's time."""
    if next(model.parameters()).device.type == "cuda":
        torch.cuda.synchronize()
