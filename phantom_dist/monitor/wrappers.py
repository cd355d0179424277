"""Removes the wrappers of training frameworks from a model; tells whether this is the first process."""

from __future__ import annotations

from typing import Any

import torch

WRAPPERS = ("DistributedDataParallel", "DataParallel", "DeepSpeedEngine", "_FabricModule")
"""Wrappers whose `module` is the model: a look must bypass their gradient buckets and step counters."""


def unwrapped(model: Any) -> Any:
    """The model without the wrappers of torch, torch.compile, DeepSpeed and Lightning Fabric."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if inner is None and any(kind.__name__ in WRAPPERS for kind in type(model).__mro__):
            inner = model.module
        if inner is None:
            return model
        model = inner


def is_first_process() -> bool:
    """True for rank 0 of the default process group, and where there is no group."""
    if not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return True
    return torch.distributed.get_rank() == 0


def wait_for_kernels(model: Any) -> None:
    """Wait for the training step's running kernels, so that their time doesn't count as the monitor's."""
    if next(model.parameters()).device.type == "cuda":
        torch.cuda.synchronize()
