"""Kinds of workers: what a plan knows about a cluster."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

ALIKE = 1.25
"""Workers whose memory differs by less than this factor are one kind: equal machines report different sizes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerKind:
    """Equal workers.

    Attributes:
        count: how many of them fit.
        memory_bytes: memory that each may use: of its GPU if `on_gpu`, else its share of its machine.
        on_gpu: whether each trains on a GPU.
    """

    count: int
    memory_bytes: float
    on_gpu: bool = False


def merge_alike(kinds: Iterable[WorkerKind]) -> tuple[WorkerKind, ...]:
    """Merge kinds whose memory is equal within `ALIKE`, least memory first.

    A merged kind has the least memory of its workers.
    """
    merged: list[WorkerKind] = []
    for kind in sorted(kinds, key=lambda kind: (kind.on_gpu, kind.memory_bytes)):
        last = merged[-1] if merged else None
        if last and last.on_gpu == kind.on_gpu and kind.memory_bytes < ALIKE * last.memory_bytes:
            count = last.count + kind.count
            merged[-1] = WorkerKind(count=count, memory_bytes=last.memory_bytes, on_gpu=last.on_gpu)
        else:
            merged.append(kind)
    return tuple(merged)
