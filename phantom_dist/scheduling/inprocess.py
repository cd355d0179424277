"""The executor without processes: one worker in this process, for debugging and fast tests."""

from __future__ import annotations

import dataclasses

from phantom_dist.core.errors import InputError, OutOfMemory, StoreError, describe
from phantom_dist.core.outcome import Outcome
from phantom_dist.scheduling.cluster import Cluster
from phantom_dist.scheduling.executor import Executor, Finished, WorkerSettings
from phantom_dist.scheduling.messages import Done, Failed, Joined, Start
from phantom_dist.scheduling.place import this_place
from phantom_dist.scheduling.this_machine import worker_kind
from phantom_dist.scheduling.worker import Worker
from phantom_dist.scheduling.worker_kind import WorkerKind

_NAME = "in-process"


class InProcessExecutor(Executor):
    """Runs each task inside `wait`, in the caller's thread. Sets torch's number of threads for this whole process."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._worker = Worker(settings)
        self._next: Start | None = None
        self._announced = False

    @property
    def workers(self) -> tuple[str, ...]:
        """The one worker, once it is announced."""
        return (_NAME,) if self._announced else ()

    def start(self, command: Start) -> None:
        """Keep the task until `wait`."""
        self._next = command

    def wait(self, timeout: float) -> Finished | Joined | None:
        """Run the kept task; `timeout` is ignored."""
        if not self._announced:
            self._announced = True
            return Joined(_NAME, place=this_place())
        if self._next is None:
            return None
        command, self._next = self._next, None
        task, lease = command.task, command.lease
        try:
            output = self._worker.do(task, command.attempt, lease)
        except (InputError, StoreError):
            raise
        except OutOfMemory as error:
            return Finished(Failed(_NAME, lease, Outcome.OUT_OF_MEMORY, str(error)), task)
        except Exception as error:
            return Finished(Failed(_NAME, lease, Outcome.ERROR, describe(error)), task)
        return Finished(Done(_NAME, lease), task, output)

    def replace(self, worker: str) -> None:
        """A new worker with nothing loaded."""
        self._worker.close()
        self._worker, self._announced = Worker(self._settings), False

    def close(self) -> None:
        """Drop the kept task, and what the worker keeps."""
        self._next = None
        self._worker.close()


class ThisProcess(Cluster):
    """A cluster of one worker in this process, with the memory that one worker on this machine would have."""

    def worker_kinds(self, device: str, threads: int) -> tuple[WorkerKind, ...]:
        """One worker, with the memory of a single worker on this machine."""
        return (dataclasses.replace(worker_kind(device, threads), count=1),)

    def executor(self, settings: WorkerSettings, workers: int | None, useful: int) -> Executor:
        """The one worker, whatever `workers` says."""
        return InProcessExecutor(settings)

    def close(self) -> None:
        """Nothing was started."""
