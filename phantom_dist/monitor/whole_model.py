"""Checks that one process alone can run a model.

The check must precede the first forward pass: in a sharded model that pass would wait forever for the other processes,
and the training would hang.
"""

from __future__ import annotations

from typing import Any

from phantom_dist.core.errors import InputError

SHARDING_WRAPPERS = ("FullyShardedDataParallel", "FSDPModule")


def check_whole(model: Any) -> None:
    """Check that this process holds every parameter as a whole.

    Raises:
        InputError: a parameter is sharded over processes (FSDP, tensor parallel, ZeRO-3).
    """
    for module in model.modules():
        if any(kind.__name__ in SHARDING_WRAPPERS for kind in type(module).__mro__):
            raise _sharded(f"{type(module).__name__} is wrapped by FSDP")
    for name, parameter in model.named_parameters():
        if type(parameter).__name__ == "DTensor" or type(parameter.data).__name__ == "DTensor":
            raise _sharded(f"{name} is a DTensor")
        if hasattr(parameter, "ds_id") and not parameter.numel():
            raise _sharded(f"{name} is sharded by ZeRO-3")


def _sharded(what: str) -> InputError:
    return InputError(
        f"monitor: the model is sharded over processes ({what}), so one of them can't look alone; allowed: whole "
        "copies, as with DDP or ZeRO-1 and 2"
    )
