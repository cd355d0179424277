"""The executor on Ray: long-lived actors, or groups of them (`ray_group`), one task each at a time.

Nothing large passes through the driver: workers store their own batches and send back summaries.
"""

from __future__ import annotations

import math
import time
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError

from phantom_dist.core.errors import InputError, OutOfMemory, StoreError
from phantom_dist.core.events import EventKind, RunEvent, record
from phantom_dist.core.outcome import Outcome
from phantom_dist.scheduling.executor import Executor, Finished, WorkerSettings
from phantom_dist.scheduling.inprocess import describe
from phantom_dist.scheduling.messages import Done, Failed, Joined, Lost, Start
from phantom_dist.scheduling.place import Place, this_place
from phantom_dist.scheduling.ray_cluster import RayCluster, room
from phantom_dist.scheduling.ray_group import RankLost, RayGroup, node_is_alive
from phantom_dist.scheduling.worker import Worker

FIRST_WORKER_S = 900.0
"""How long a cluster may have no room for a single worker: a cloud takes minutes to start a machine."""

MAX_FAILED_STARTS = 10
"""So many workers in a row that die before they are ready aren't bad luck: no more are started in their places, and the
run ends if nobody works."""


class RayWorker(Worker):
    """A worker as a Ray actor."""

    def place(self) -> Place:
        """Where it runs."""
        return this_place(ray.get_runtime_context().get_node_id())


class RayExecutor(Executor):
    """Actors on a Ray cluster, each with its CPU threads (and, on a GPU cluster, one GPU).

    On a cluster that was joined, more actors are asked for than find room, at most as many again as there are: nodes
    that come later are used, and Ray's autoscaler sees what is wanted. What isn't needed is never asked for.

    Args:
        settings: how each worker is set up.
        cluster: whose machines they run on.
        workers: number of actors; None for as many as there can be.
        useful: number of tasks there can be at once; more workers would idle.

    Raises:
        InputError: no cluster at the address, or (if it was started here) no room for a single worker.
    """

    def __init__(
        self, settings: WorkerSettings, cluster: RayCluster, workers: int | None, useful: int
    ) -> None:
        self._settings = settings
        self._cluster = cluster
        self._most = max(1, useful if workers is None else min(workers, useful))
        self._actors: dict[str, Any] = {}
        self._nodes: dict[str, str] = {}  # of the workers that are ready
        self._starting: dict[Any, str] = {}
        self._running: dict[Any, Start] = {}
        self._failed_starts = 0
        self._waiting_since = time.monotonic()
        cluster.connect()
        self._grows = cluster.grows
        try:
            self._gpus, self._room = self._look_around()
            self._ask_for_workers()
        except BaseException:
            self.close()
            raise

    def _look_around(self) -> tuple[int, int]:
        """GPUs for each worker, and how many workers the cluster has room for now."""
        settings, resources = self._settings, ray.cluster_resources()
        if settings.device == "cuda" and resources.get("GPU", 0) < 1 and not self._grows:
            raise InputError("device: cuda was asked for, but Ray sees no GPU here. Allowed here: auto, cpu.")
        wants_gpu = settings.device == "cuda" or (settings.device == "auto" and resources.get("GPU", 0) >= 1)
        gpus = 1 if wants_gpu else 0
        places = room(resources, settings.threads, gpus) // self._ranks
        if places < 1 and not self._grows:
            raise InputError(f"Ray has no room here for a single worker: {self._wanted(gpus)}")
        return gpus, places

    @property
    def _ranks(self) -> int:
        return 1 if self._settings.group is None else self._settings.group.ranks

    def _wanted(self, gpus: int) -> str:
        has = ray.cluster_resources()
        each, key = "each", "threads"
        if self._ranks > 1:
            each, key = f"it is a group of {self._ranks} ranks, of which each", "group.ranks"
        return (
            f"{each} needs {self._settings.threads} CPUs and {gpus} GPUs on one node, all nodes together have "
            f"{has.get('CPU', 0):g} and {has.get('GPU', 0):g}. Lower `execution.{key}` or add nodes."
        )

    def _ask_for_workers(self) -> None:
        most = max(1, self._room, 2 * len(self._nodes)) if self._grows else self._room
        for i in range(len(self._actors), min(self._most, most)):
            self._new_actor(f"worker-{i}")

    @property
    def workers(self) -> tuple[str, ...]:
        """Names of the actors' places that have one now; an actor that dies is replaced in its place."""
        return tuple(self._nodes)

    def start(self, command: Start) -> None:
        """Send the task to the actor."""
        actor = self._actors[command.worker]
        self._running[actor.do.remote(command.task, command.attempt, command.lease)] = command

    def wait(self, timeout: float) -> Finished | Joined | None:
        """The next task that ended or actor that is ready; a dead actor's task counts as lost.

        Raises:
            InputError: also where no worker finds room for `FIRST_WORKER_S`, or none can be started.
        """
        awaited = [*self._running, *self._starting]
        ready, _ = ray.wait(awaited, num_returns=1, timeout=timeout)
        if not ready:
            self._check_that_somebody_comes()
            return None
        if ready[0] in self._starting:
            return self._started(ready[0])
        return self._finished(ready[0])

    def _started(self, ref: Any) -> Joined | None:
        worker = self._starting.pop(ref)
        try:
            place: Place = ray.get(ref)
        except RayError as error:
            if isinstance(error, RayTaskError) and isinstance(error.cause, InputError):
                raise error.cause from None
            record(
                RunEvent(
                    time=time.time(),
                    kind=EventKind.WORKER_START_FAILED,
                    worker=worker,
                    message=describe(error),
                )
            )
            self._failed_starts += 1
            if self._failed_starts < MAX_FAILED_STARTS:
                self.replace(worker)
            elif not self._nodes:
                raise InputError(
                    f"workers don't start, {self._failed_starts} in a row: {describe(error)}"
                ) from None
            return None
        self._failed_starts = 0
        self._nodes[worker] = place.node
        self._ask_for_workers()
        return Joined(worker, self._memory_of(worker), place=place)

    def _memory_of(self, worker: str) -> float:
        """What the worker may plan with (bytes); a group of ranks holds what it was made for."""
        if self._settings.group is not None:
            return math.inf
        return self._cluster.memory_of(self._nodes[worker], self._settings.device, self._settings.threads)

    def _finished(self, ref: Any) -> Finished:
        started = self._running.pop(ref)
        worker, lease, task = started.worker, started.lease, started.task
        try:
            output = ray.get(ref)
        except OutOfMemoryError as error:  # Ray's memory monitor has killed its process
            return Finished(Lost(worker, lease, describe(error), outcome=Outcome.OUT_OF_MEMORY), task)
        except RayTaskError as error:
            if self._settings.group is not None:
                return Finished(_lost(started, error.cause), task)
            return Finished(_failed(started, error.cause), task)
        except RayError as error:  # the worker is dead, or its answer went with its node's object store
            return Finished(Lost(worker, lease, describe(error), self._was_taken_away(worker, error)), task)
        return Finished(Done(worker, lease), task, output)

    def _was_taken_away(self, worker: str, error: Exception) -> bool:
        """Whether the actor's whole node is gone, which is no fault of its task."""
        if isinstance(error, RayActorError) and error.preempted:
            return True
        return not node_is_alive(self._nodes[worker])

    def _check_that_somebody_comes(self) -> None:
        if self._nodes:
            self._waiting_since = time.monotonic()
        elif time.monotonic() - self._waiting_since > FIRST_WORKER_S:
            raise InputError(
                f"no worker has found room for {FIRST_WORKER_S:.0f} s: {self._wanted(self._gpus)}"
            )

    def replace(self, worker: str) -> None:
        """A new actor in the place of one that is dead, or killed now."""
        self._running = {ref: held for ref, held in self._running.items() if held.worker != worker}
        self._starting = {ref: name for ref, name in self._starting.items() if name != worker}
        self._nodes.pop(worker, None)
        _kill(self._actors[worker])
        self._new_actor(worker)

    def close(self) -> None:
        """Kill the actors; Ray itself is the cluster's."""
        for actor in self._actors.values():
            _kill(actor)
        self._actors.clear()

    def _new_actor(self, worker: str) -> None:
        threads = str(self._settings.threads)
        environment = {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "TOKENIZERS_PARALLELISM": "false",
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        }
        options = {
            "num_cpus": self._settings.threads,
            "num_gpus": self._gpus,
            "max_restarts": 0,
            "runtime_env": {"env_vars": environment},
        }
        if self._settings.group is None:
            actor = ray.remote(RayWorker).options(**options).remote(self._settings)
        else:
            actor = RayGroup(self._settings, options)
        self._actors[worker] = actor
        self._starting[actor.place.remote()] = worker


def _kill(actor: Any) -> None:
    if isinstance(actor, RayGroup):
        actor.kill()
    else:
        ray.kill(actor)


def _lost(started: Start, cause: BaseException) -> Lost:
    """After any failure the ranks of a group may stand at different places, so it is replaced."""
    if isinstance(cause, RankLost):
        return Lost(started.worker, started.lease, str(cause), cause.preempted)
    failed = _failed(started, cause)
    return Lost(failed.worker, failed.lease, failed.message, outcome=failed.outcome)


def _failed(started: Start, cause: BaseException) -> Failed:
    if isinstance(cause, InputError | StoreError):
        raise cause
    if isinstance(cause, OutOfMemory):
        return Failed(started.worker, started.lease, Outcome.OUT_OF_MEMORY, str(cause))
    return Failed(started.worker, started.lease, Outcome.ERROR, describe(cause))
