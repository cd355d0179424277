"""A worker as a Ray actor. Importing this module needs no torch: the actor's process imports it, beside the driver."""

from __future__ import annotations

import gc
import importlib
from typing import TYPE_CHECKING, Any

import ray

from phantom_dist.core.imports import importing
from phantom_dist.scheduling.place import Place, this_place

if TYPE_CHECKING:
    from phantom_dist.scheduling.executor import TaskOutput, WorkerSettings
    from phantom_dist.scheduling.tasks import Task
    from phantom_dist.scheduling.worker import Worker


def actor_options(threads: int, gpus: int) -> dict[str, Any]:
    """Ray's options for the actor of a worker."""
    environment = {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    }
    return {
        "num_cpus": threads,
        "num_gpus": gpus,
        "max_restarts": 0,
        "runtime_env": {"env_vars": environment},
    }


def new_actor(options: dict[str, Any]) -> Any:
    """An actor, whose process imports what it needs at once."""
    actor = ray.remote(RayWorker).options(**options).remote()
    actor.warm_up.remote()
    return actor


class RayWorker:
    """A worker that may be started before its run is planned."""

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def warm_up(self) -> None:
        """Import what training needs."""
        with importing():
            importlib.import_module("phantom_dist.scheduling.worker")
        gc.freeze()  # no collection reads it again

    def start(self, settings: WorkerSettings) -> Place:
        """Become the worker with these settings; its process, host and node."""
        from phantom_dist.scheduling.worker import Worker

        self._worker = Worker(settings)
        return this_place(ray.get_runtime_context().get_node_id())

    def do(self, task: Task, attempt: int, lease: int) -> TaskOutput:
        """See `worker.Worker.do`."""
        assert self._worker is not None
        return self._worker.do(task, attempt, lease)
