"""Large buffers of a CPU that one batch leaves to the next, instead of returning them to the system.

New memory is slow to get: the system clears each page when it is first written, and a virtual machine may have to get
it from its host. On SmolLM2-135M that is up to a third of a batch of dual lanes, whose history takes gigabytes. Buffers
are kept only within `kept`, so a process of somebody else's gets its memory back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor

_LARGEST = 2
"""A buffer serves if it has at most this many times the entries that are wanted."""

_SMALL = 1000
"""A request for less than this part of what is kept, as of a probe between two batches, leaves it."""

_free: list[Tensor] = []
_users = 0


@contextmanager
def kept() -> Iterator[None]:
    """Keep buffers within the block; drop them at its end."""
    global _users
    _users += 1
    try:
        yield
    finally:
        _users -= 1
        if not _users:
            drop()


def take(entries: int, like: Tensor) -> Tensor:
    """A flat buffer of at least so many uninitialised entries, of another tensor's type and device."""
    fitting = [
        place
        for place, buffer in enumerate(_free)
        if buffer.dtype == like.dtype and entries <= buffer.numel() <= _LARGEST * entries
    ]
    if like.device.type == "cpu" and fitting:
        return _free.pop(min(fitting, key=lambda place: _free[place].numel()))
    if entries * like.itemsize * _SMALL > kept_bytes():
        drop()  # what is left is of another batch's shapes
    return like.new_empty(entries)


def give_back(buffers: Sequence[Tensor]) -> None:
    """Leave buffers of `take` to the next batch; nothing may use them any more."""
    if _users:
        _free.extend(buffer for buffer in buffers if buffer.device.type == "cpu")


def drop() -> None:
    """Return what is kept to the system."""
    _free.clear()


def kept_bytes() -> int:
    """Memory that is kept now."""
    return sum(buffer.untyped_storage().nbytes() for buffer in _free)
