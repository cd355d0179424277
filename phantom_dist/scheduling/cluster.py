"""Where workers run: which kinds of workers there is room for, and executors that use them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from phantom_dist.scheduling.executor import Executor, WorkerSettings

ALIKE = 1.25
"""Workers whose memory differs by less than this factor are one kind: equal machines report slightly different numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerKind:
    """Workers that are alike.

    Attributes:
        count: how many of them there is room for.
        memory_bytes: what one of them may plan with: of its GPU where `on_gpu`, else its share of its machine.
        on_gpu: whether it trains on a GPU.
    """

    count: int
    memory_bytes: float
    on_gpu: bool = False


def merge_alike(kinds: Iterable[WorkerKind]) -> tuple[WorkerKind, ...]:
    """The same workers in as few kinds as `ALIKE` allows, least memory first; a merged kind has the least of its own."""
    merged: list[WorkerKind] = []
    for kind in sorted(kinds, key=lambda kind: (kind.on_gpu, kind.memory_bytes)):
        last = merged[-1] if merged else None
        if last and last.on_gpu == kind.on_gpu and kind.memory_bytes < ALIKE * last.memory_bytes:
            count = last.count + kind.count
            merged[-1] = WorkerKind(count=count, memory_bytes=last.memory_bytes, on_gpu=last.on_gpu)
        else:
            merged.append(kind)
    return tuple(merged)


class Cluster(ABC):
    """This process, this machine, or the machines of a Ray cluster. A context manager; leaving it calls `close`."""

    workers_share_cache = False
    """Whether several workers use this machine's model cache."""

    @abstractmethod
    def worker_kinds(self, device: str, threads: int) -> tuple[WorkerKind, ...]:
        """The kinds of workers there is room for now, least memory first.

        Args:
            device: `auto`, `cpu` or `cuda`.
            threads: CPU threads of each worker.

        Raises:
            InputError: no cluster can be joined at the address.
        """

    @abstractmethod
    def executor(self, settings: WorkerSettings, workers: int | None, useful: int) -> Executor:
        """Start workers.

        Args:
            settings: how each worker is set up.
            workers: how many to start; None for as many as there can be.
            useful: how many tasks can run at once; more workers would idle.

        Raises:
            InputError: there is no room for a single worker.
        """

    @abstractmethod
    def close(self) -> None:
        """End what was started here; a cluster that was joined goes on."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
