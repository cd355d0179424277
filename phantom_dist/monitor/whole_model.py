"""Whether one process can look at a model alone. It must be asked before the first pass: a pass through a sharded model
waits for the other processes, which don't come, and the training stands still."""

from __future__ import annotations

from typing import Any

from phantom_dist.core.errors import InputError

SHARDING_WRAPPERS = ("FullyShardedDataParallel", "FSDPModule")


def check_whole(model: Any) -> None:
    """Check that every parameter is here, whole and with values.

    Raises:
        InputError: a parameter is sharded over processes, or has no values on this machine.
    """
    for module in model.modules():
        if any(kind.__name__ in SHARDING_WRAPPERS for kind in type(module).__mro__):
            raise _sharded(f"{type(module).__name__} is wrapped by FSDP")
    for name, parameter in model.named_parameters():
        if type(parameter).__name__ == "DTensor" or type(parameter.data).__name__ == "DTensor":
            raise _sharded(f"{name} is a DTensor")
        if hasattr(parameter, "ds_id") and not parameter.numel():
            raise _sharded(f"{name} is ZeRO-3's")


def _sharded(what: str) -> InputError:
    return InputError(
        f"monitor: the model is sharded over processes ({what}), so one of them can't look alone; allowed: whole "
        "copies, as with DDP or ZeRO-1 and 2"
    )
