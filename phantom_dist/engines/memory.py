"""One name for the ways in which torch and Python say that memory is exhausted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from phantom_dist.core.errors import OutOfMemory

_CPU_ALLOCATOR = "can't allocate memory"
"""torch's CPU allocator raises a plain RuntimeError; its text is all there is to know it by."""


@contextmanager
def out_of_memory_named() -> Iterator[None]:
    """Raise `OutOfMemory` in place of whatever an allocation within raised; other errors pass.

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
