"""The interface of clusters: the kinds of workers that one can hold, and executors on it; and which cluster is used."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import TYPE_CHECKING, Self

from phantom_dist.scheduling.address import chosen_address
from phantom_dist.scheduling.worker_kind import WorkerKind

if TYPE_CHECKING:
    from phantom_dist.scheduling.executor import Executor, WorkerSettings


class Cluster(ABC):
    """This process, this machine, or the machines of a Ray cluster. A context manager whose exit calls `close`."""

    workers_share_cache = False
    """Whether several workers share this machine's model cache."""

    def prepare(self, device: str, threads: int, workers: int) -> None:  # noqa: B027
        """Begin to start what workers will need, if anything; returns at once.

        Args:
            device: `auto`, `cpu` or `cuda`.
            threads: CPU threads of each worker.
            workers: how many at most.
        """

    @abstractmethod
    def worker_kinds(self, device: str, threads: int) -> tuple[WorkerKind, ...]:
        """The kinds of workers that the cluster can hold now, least memory first.

        Args:
            device: `auto`, `cpu` or `cuda`.
            threads: CPU threads of each worker.

        Raises:
            InputError: there is no cluster at the address.
        """

    @abstractmethod
    def executor(self, settings: WorkerSettings, workers: int | None, useful: int) -> Executor:
        """Start workers.

        Args:
            settings: for each worker.
            workers: how many to start; None for as many as fit.
            useful: how many tasks can run at once; more workers would be idle.

        Raises:
            InputError: not even one worker fits.
        """

    @abstractmethod
    def close(self) -> None:
        """End what was started here; leave a cluster that was joined running."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_cluster(executor: str, address: str | None) -> Cluster:
    """This process, a Ray that is started for the run, or a Ray that is joined.

    Raises:
        InputError: Ray can't be started here, or nothing listens at the address.
    """
    if executor == "inprocess":
        from phantom_dist.scheduling.inprocess import ThisProcess

        return ThisProcess()
    from phantom_dist.scheduling.ray_cluster import RayCluster

    return RayCluster(chosen_address(address))
