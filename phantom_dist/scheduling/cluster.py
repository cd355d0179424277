"""Where workers run: which kinds of workers there is room for, and executors that use them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, Self

from phantom_dist.scheduling.worker_kind import WorkerKind

if TYPE_CHECKING:
    from phantom_dist.scheduling.executor import Executor, WorkerSettings


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
