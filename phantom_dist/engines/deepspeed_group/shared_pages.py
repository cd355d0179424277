"""Memory of one rank that the ranks of the same machine read in place, so that nothing has to be sent between them.

It is an anonymous file (`memfd_create`), which other processes of the same user open through /proc: no name, no limit
but the memory's, and gone with the last process that has it.
"""

from __future__ import annotations

import mmap
import os
import uuid
import warnings

import torch
import torch.distributed as dist
from torch import Tensor

ALIGNMENT = 64
"""Tensors begin at multiples of this many bytes, a cache line."""

_TOKEN = ALIGNMENT
"""Bytes at the start that hold a random token, by which another process checks that it has opened the right file."""


class SharedPages:
    """This rank's pages, and those of the ranks that this process can map; on Linux, for ranks on CPUs.

    Args:
        rank, ranks: this rank's number, and how many there are.
        size: bytes that `take` will take in all.
    """

    def __init__(self, rank: int, ranks: int, size: int) -> None:
        self._rank, self._ranks = rank, ranks
        self._token = uuid.uuid4().bytes
        self._file = os.memfd_create("phantom_dist shards", os.MFD_CLOEXEC)
        os.ftruncate(self._file, _TOKEN + size)
        self._own = mmap.mmap(self._file, _TOKEN + size)
        self._own[: len(self._token)] = self._token
        self._at = _TOKEN

    def take(self, shape: tuple[int, int], dtype: torch.dtype) -> tuple[Tensor, int]:
        """A tensor of zeros in this rank's pages, and the byte at which it begins."""
        tensor = view(self._own, self._at, shape, dtype)
        begin, size = self._at, tensor.numel() * tensor.itemsize
        self._at += -(-size // ALIGNMENT) * ALIGNMENT
        return tensor, begin

    def map_others(self) -> list[mmap.mmap] | None:
        """Every rank's pages, to be read only; None, on all ranks, if a rank can't map those of another. Collective."""
        addresses: list[tuple[int, int, int, bytes]] = [(0, 0, 0, b"")] * self._ranks
        dist.all_gather_object(addresses, (os.getpid(), self._file, len(self._own), self._token))
        mapped = [_mapped(*address) for address in addresses]
        able: list[bool] = [False] * self._ranks
        dist.all_gather_object(able, all(pages is not None for pages in mapped))
        return [pages for pages in mapped if pages is not None] if all(able) else None


def room(shapes: list[tuple[int, int]], itemsize: int) -> int:
    """Bytes that tensors of these shapes take in `SharedPages`."""
    return sum(-(-rows * width * itemsize // ALIGNMENT) * ALIGNMENT for rows, width in shapes)


def _mapped(pid: int, file: int, size: int, token: bytes) -> mmap.mmap | None:
    """The pages of a process of this machine; None if it isn't there, or can't be read."""
    try:
        opened = os.open(f"/proc/{pid}/fd/{file}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            pages = mmap.mmap(opened, size, prot=mmap.PROT_READ)
        finally:
            os.close(opened)
    except (OSError, ValueError):
        return None
    return pages if pages[: len(token)] == token else None


def view(pages: mmap.mmap, begin: int, shape: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """The tensor at this place of a rank's pages."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given buffer is not writable")
        flat = torch.frombuffer(pages, dtype=dtype, count=shape[0] * shape[1], offset=begin)
    return flat.view(shape)
