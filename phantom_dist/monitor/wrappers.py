"""What training frameworks put around a model and a process."""

from __future__ import annotations

from typing import Any

import torch

AROUND = ("DistributedDataParallel", "DataParallel", "DeepSpeedEngine", "_FabricModule")
"""Wrappers whose `module` is the model: a look must not go through their gradients' buckets and counters of steps."""


def unwrapped(model: Any) -> Any:
    """The model itself from under the wrappers of torch, torch.compile, DeepSpeed and Lightning Fabric."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and any(kind.__name__ in AROUND for kind in type(model).__mro__):
            inner = model.module
        if inner is None:
            return model
        model = inner


def is_first_process() -> bool:
    """True for rank 0 of the default group, and where there is none."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return True
    return torch.distributed.get_rank() == 0


def wait_for_kernels(model: Any) -> None:
    """Kernels of the training step that are still running are not the monitor's time."""
    if next(model.parameters()).device.type == "cuda":
        torch.cuda.synchronize()
