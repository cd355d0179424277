"""One exception in place of the several that torch and Python raise when memory is exhausted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from phantom_dist.core.errors import OutOfMemory

_CPU_ALLOCATOR = "can't allocate memory"
"""torch's CPU allocator raises a plain RuntimeError, which only its text identifies."""


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
