"""Free memory, and one exception in place of the several that are raised when it is exhausted.

A CPU has no allocator that refuses in time: the system first drops its files' pages, stands still, and then kills a
process. So a batch looks at the free memory before it starts and at every step, and gives up while it still can; it is
then trained in parts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from phantom_dist.core import container
from phantom_dist.core.errors import OutOfMemory
from phantom_dist.engines import kept_memory

_CPU_ALLOCATOR = "can't allocate memory"
"""torch's CPU allocator raises a plain RuntimeError, which only its text identifies."""

LOOK_EVERY_S = 0.2


def free_bytes(device: torch.device) -> float:
    """Memory that this process can still take on a device, whoever uses the rest; a CPU's without its reserve."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(torch.cuda.mem_get_info(device)[0] + unused)
    return container.memory_free() + kept_memory.kept_bytes() - container.RESERVE * container.memory_total()


class MemoryWatch:
    """Looks now and then at the free memory of a CPU while several trials are trained at the same time."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._looked = time.monotonic()

    def look(self, lanes: int) -> None:
        """Give up in time. A single trial goes on, as it can't take less.

        Raises:
            OutOfMemory: only the reserve is left.
        """
        if lanes == 1 or self._device.type != "cpu" or time.monotonic() - self._looked < LOOK_EVERY_S:
            return
        self._looked = time.monotonic()
        if (free := free_bytes(self._device)) < 0:
            left = (free + container.RESERVE * container.memory_total()) / 1e9
            raise OutOfMemory(f"{left:.1f} GB of memory are left while {lanes} lanes train")


@contextmanager
def out_of_memory_named() -> Iterator[None]:
    """Raise `OutOfMemory` in place of any allocation error raised within; other errors pass unchanged.

    Raises:
        OutOfMemory: the device's or the host's memory is exhausted.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory(str(error)) from error
    except RuntimeError as error:
        if _CPU_ALLOCATOR in str(error):
            raise OutOfMemory(str(error)) from error
        raise
