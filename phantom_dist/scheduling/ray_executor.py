"""The executor on Ray: long-lived actors, or groups of actors (`ray_group`), each with one task at a time.

No large data passes through the driver: workers store their own batches and return summaries.
"""

from __future__ import annotations

import math
import time
from typing import Any

import ray
from ray.exceptions import RayError

from phantom_dist.core.errors import InputError, describe
from phantom_dist.core.events import EventKind, RunEvent, record
from phantom_dist.scheduling.executor import Executor, Finished, WorkerSettings
from phantom_dist.scheduling.messages import Done, Joined, Start
from phantom_dist.scheduling.place import Place
from phantom_dist.scheduling.ray_cluster import RayCluster, gpus_wanted, room
from phantom_dist.scheduling.ray_failures import FailedStarts, event_of
from phantom_dist.scheduling.ray_group import RayGroup, node_is_alive
from phantom_dist.scheduling.ray_worker import actor_options, new_actor

FIRST_WORKER_S = 900.0
"""How long to wait until the first worker can be scheduled: a cloud takes minutes to start a machine."""


class RayExecutor(Executor):
    """Actors on a Ray cluster, each with its CPU threads and, on a GPU cluster, one GPU.

    On a cluster that was joined, the executor requests more actors than fit, up to twice as many as are ready. So
    nodes that join later are used, and Ray's autoscaler sees the demand. It requests no more actors than are useful.

    Args:
        settings: for each worker.
        cluster: the cluster.
        workers: number of actors; None for as many as fit.
        useful: how many tasks can run at once; more workers would be idle.

    Raises:
        InputError: there is no cluster at the address, or (if Ray was started here) not even one worker fits.
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
        self._failed_starts = FailedStarts()
        self._waiting_since = time.monotonic()
        cluster.connect()
        self._grows = cluster.grows
        try:
            self._gpus, self._room = self._read_resources()
            if settings.group is not None:
                cluster.end_spares()
            self._request_workers()
            cluster.end_spares()
        except BaseException:
            self.close()
            raise

    def _read_resources(self) -> tuple[int, int]:
        """GPUs for each worker, and how many workers the cluster can hold now."""
        settings, resources = self._settings, ray.cluster_resources()
        if settings.device == "cuda" and resources.get("GPU", 0) < 1 and not self._grows:
            raise InputError("device: cuda, but Ray sees no GPU here. Allowed here: auto, cpu.")
        gpus = gpus_wanted(settings.device, resources)
        count = room(resources, settings.threads, gpus) // self._ranks
        if count < 1 and not self._grows:
            raise InputError(f"Ray has no room here for a single worker: {self._requirements(gpus)}")
        return gpus, count

    @property
    def _ranks(self) -> int:
        return 1 if self._settings.group is None else self._settings.group.ranks

    def _requirements(self, gpus: int) -> str:
        available = ray.cluster_resources()
        each, key = "each", "threads"
        if self._ranks > 1:
            each, key = f"it is a group of {self._ranks} ranks, of which each", "group.ranks"
        return (
            f"{each} needs {self._settings.threads} CPUs and {gpus} GPUs on one node, all nodes together have "
            f"{available.get('CPU', 0):g} and {available.get('GPU', 0):g}. Lower `execution.{key}` or add nodes."
        )

    def _request_workers(self) -> None:
        most = max(1, self._room, 2 * len(self._nodes)) if self._grows else self._room
        for i in range(len(self._actors), min(self._most, most)):
            self._new_actor(f"worker-{i}")

    @property
    def workers(self) -> tuple[str, ...]:
        """Names of the workers that are ready or busy; a new actor takes over the name of one that died."""
        return tuple(self._nodes)

    def actors_of(self, worker: str) -> tuple[Any, ...]:
        """Ray's handles of a worker's processes: one, or one for each rank of a group."""
        actor = self._actors[worker]
        return tuple(actor.ranks) if isinstance(actor, RayGroup) else (actor,)

    def start(self, command: Start) -> None:
        """Send the task to the worker's actor."""
        actor = self._actors[command.worker]
        self._running[actor.do.remote(command.task, command.attempt, command.lease)] = command

    def wait(self, timeout: float) -> Finished | Joined | None:
        """The next task that ended or worker that became ready; the task of a dead actor is lost.

        Raises:
            InputError: also if no worker could be scheduled within `FIRST_WORKER_S`, or none can be started.
        """
        awaited = [*self._running, *self._starting]
        ready, _ = ray.wait(awaited, num_returns=1, timeout=timeout)
        if not ready:
            self._check_that_workers_come()
            return None
        if ready[0] in self._starting:
            return self._started(ready[0])
        return self._finished(ready[0])

    def _started(self, ref: Any) -> Joined | None:
        worker = self._starting.pop(ref)
        try:
            place: Place = ray.get(ref)
        except RayError as error:
            now, message = time.time(), describe(error)
            record(RunEvent(time=now, kind=EventKind.WORKER_START_FAILED, worker=worker, message=message))
            if self._failed_starts.start_again(error, others_work=bool(self._nodes)):
                self.replace(worker)
            return None
        self._failed_starts.worker_started()
        self._nodes[worker] = place.node
        self._request_workers()
        return Joined(worker, self._memory_of(worker), place=place)

    def _memory_of(self, worker: str) -> float:
        """Memory that the worker may use (bytes); no limit for a group of ranks, which was sized for its tasks."""
        if self._settings.group is not None:
            return math.inf
        return self._cluster.memory_of(self._nodes[worker], self._settings.device, self._settings.threads)

    def _finished(self, ref: Any) -> Finished:
        started = self._running.pop(ref)
        try:
            output = ray.get(ref)
        except RayError as error:
            node, is_group = self._nodes[started.worker], self._settings.group is not None
            event = event_of(started, error, lambda: node_is_alive(node), is_group=is_group)
            return Finished(event, started.task)
        return Finished(Done(started.worker, started.lease), started.task, output)

    def _check_that_workers_come(self) -> None:
        if self._nodes:
            self._waiting_since = time.monotonic()
        elif time.monotonic() - self._waiting_since > FIRST_WORKER_S:
            raise InputError(
                f"no worker could be scheduled within {FIRST_WORKER_S:.0f} s: {self._requirements(self._gpus)}"
            )

    def replace(self, worker: str) -> None:
        """Kill the worker's actor if it is alive, and start a new one."""
        self._running = {ref: command for ref, command in self._running.items() if command.worker != worker}
        self._starting = {ref: name for ref, name in self._starting.items() if name != worker}
        self._nodes.pop(worker, None)
        _kill(self._actors[worker])
        self._new_actor(worker)

    def close(self) -> None:
        """Kill the actors; the cluster ends Ray itself."""
        for actor in self._actors.values():
            _kill(actor)
        self._actors.clear()

    def _new_actor(self, worker: str) -> None:
        options = actor_options(self._settings.threads, self._gpus)
        if self._settings.group is None:
            actor = self._cluster.take_spare(options) or new_actor(options)
            started = actor.start.remote(self._settings)
        else:
            actor = RayGroup(self._settings, options)
            started = actor.place.remote()
        self._actors[worker] = actor
        self._starting[started] = worker


def _kill(actor: Any) -> None:
    if isinstance(actor, RayGroup):
        actor.kill()
    else:
        ray.kill(actor)
