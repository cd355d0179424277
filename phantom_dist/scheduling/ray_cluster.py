"""The machines of a Ray cluster, which is either started here and ended afterwards, or joined."""

from __future__ import annotations

import functools
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from phantom_dist.core.activity import Activity, activity
from phantom_dist.scheduling.cluster import Cluster
from phantom_dist.scheduling.ray_place import check_place, not_joined, not_started
from phantom_dist.scheduling.ray_worker import actor_options, new_actor
from phantom_dist.scheduling.this_machine import gpu_bytes, usable_bytes, worker_kind
from phantom_dist.scheduling.worker_kind import WorkerKind, merge_alike

if TYPE_CHECKING:
    from phantom_dist.scheduling.executor import Executor, WorkerSettings

ACCELERATOR = "accelerator_type:"
"""Prefix of the Ray resource that names a node's kind of GPU."""

REMEMBERED_S = 10.0
"""How long `memory_of` uses one answer of `ray.nodes()`: on a large cluster many workers join at the same time."""


class RayCluster(Cluster):
    """The machines of a Ray cluster.

    The first call that needs Ray starts or joins it. If this process is already connected to a Ray (as in a notebook),
    that one is used and left running.

    Args:
        address: `local` starts a Ray on this machine; `auto`, `HOST:PORT` and `ray://HOST:PORT` join one.

    Raises:
        InputError: Ray can't be started here, or nothing listens at the address. This is checked here, before anything
            is written.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.workers_share_cache = address == "local"
        self._connected_here = False
        self._is_this_machine = address == "local" and not ray.is_initialized()
        self._usable = usable_bytes()
        self._beginning: threading.Thread | None = None
        self._begun, self._ended = threading.Event(), threading.Event()
        self._failure: BaseException | None = None
        self._spares: list[tuple[dict[str, Any], Any]] = []  # actors that no executor has taken yet
        self._gpu_bytes: dict[str, float] = {}  # of each kind of GPU
        self._remembered: dict[
            str, WorkerKind
        ] = {}  # by node, for the device and threads of `_remembered_for`
        self._remembered_for: tuple[str, int] | None = None
        self._remembered_at = 0.0
        if not ray.is_initialized():
            check_place(address)

    @property
    def grows(self) -> bool:
        """Whether machines may join later."""
        return self.address != "local"

    def connect(self) -> None:
        """Start or join Ray, unless this process is connected already.

        Raises:
            InputError: Ray can't be started or joined.
        """
        if self._beginning is not None:
            with activity(Activity.STARTING, "starting Ray"):
                self._begun.wait()
            # Only the main thread can set handlers; Ray was started in another.
            _handle_sigterm(signal.getsignal(signal.SIGTERM))
            if self._failure is not None:
                raise self._failure
        if not ray.is_initialized():
            _init(self.address)
            self._connected_here = True

    def prepare(self, device: str, threads: int, workers: int) -> None:
        """See `Cluster`; where Ray is started here, it and its workers start beside what follows."""
        if self._is_this_machine and self._beginning is None:
            thread = threading.Thread(target=self._begin, args=(device, threads, workers), daemon=True)
            thread.start()
            self._beginning = thread

    def _begin(self, device: str, threads: int, workers: int) -> None:
        try:
            _init(self.address)
            self._connected_here = True
            resources = ray.cluster_resources()
            options = actor_options(threads, gpus_wanted(device, resources))
            count = min(workers, room(resources, threads, options["num_gpus"]))
            self._spares = [(options, new_actor(options)) for _ in range(count)]
        except BaseException as error:  # `connect` raises it in the main thread
            self._failure = error
        self._begun.set()
        # Ray's processes are told to end with the thread that started them.
        self._ended.wait()

    def take_spare(self, options: dict[str, Any]) -> Any:
        """An actor that was started with these options and isn't in use; None if there is none."""
        for place, (had, actor) in enumerate(self._spares):
            if had == options:
                del self._spares[place]
                return actor
        return None

    def end_spares(self) -> None:
        """End the actors that nothing has taken."""
        for _, actor in self._spares:
            ray.kill(actor)
        self._spares.clear()

    def resources(self) -> dict[str, float]:
        """The cluster's resources, by Ray's names (CPU, GPU, memory in bytes, …)."""
        self.connect()
        return dict(ray.cluster_resources())

    def worker_kinds(self, device: str, threads: int) -> tuple[WorkerKind, ...]:
        """The kinds of all live nodes; of this machine if Ray will be started here."""
        if self._is_this_machine:
            return (self._here(device, threads),)
        return merge_alike(self._kinds(device, threads).values())

    def memory_of(self, node: str, device: str, threads: int) -> float:
        """Memory that a worker on the node with this id may use (bytes); 0 if the node holds no worker.

        The answer of `ray.nodes()` is reused for `REMEMBERED_S`. A node that it doesn't contain is looked up anew.
        """
        if self._is_this_machine:
            return self._here(device, threads).memory_bytes
        old = time.monotonic() - self._remembered_at > REMEMBERED_S
        if old or self._remembered_for != (device, threads) or node not in self._remembered:
            self._remembered = self._kinds(device, threads)
            self._remembered_for, self._remembered_at = (device, threads), time.monotonic()
        kind = self._remembered.get(node)
        return 0.0 if kind is None else kind.memory_bytes

    @functools.cache  # noqa: B019  a cluster lives as long as its run
    def _here(self, device: str, threads: int) -> WorkerKind:
        """The workers of this machine, with the memory that was free before anything was started."""
        return worker_kind(device, threads, self._usable)

    def executor(self, settings: WorkerSettings, workers: int | None, useful: int) -> Executor:
        """Start actors; see `ray_executor`."""
        from phantom_dist.scheduling.ray_executor import RayExecutor

        return RayExecutor(settings, self, workers, useful)

    def close(self) -> None:
        """End Ray if it was started here; disconnect from it if it was joined."""
        if self._beginning is not None:
            self._begun.wait()
        if self._connected_here:
            ray.shutdown()
            self._connected_here = False
        self._ended.set()

    def _kinds(self, device: str, threads: int) -> dict[str, WorkerKind]:
        """The workers that each node can hold, by the node's id."""
        self.connect()
        nodes = [node for node in ray.nodes() if node["Alive"]]
        wants_gpu = device != "cpu" and any(node["Resources"].get("GPU", 0) >= 1 for node in nodes)
        return dict(self._kinds_of(nodes, threads, wants_gpu))

    def _kinds_of(
        self, nodes: list[dict[str, Any]], threads: int, wants_gpu: bool
    ) -> Iterator[tuple[str, WorkerKind]]:
        for node in nodes:
            resources, name = node["Resources"], str(node["NodeID"])
            count = room(resources, threads, gpus=int(wants_gpu))
            if count and wants_gpu:
                memory = self.gpu_bytes_of(name, resources)
                yield name, WorkerKind(count=count, memory_bytes=memory, on_gpu=True)
            elif count:
                # Ray's `memory`: free when Ray started on the node, within a container's limit, less the object store.
                yield name, WorkerKind(count=count, memory_bytes=float(resources.get("memory", 0.0)) / count)

    def gpu_bytes_of(self, node: str, resources: Mapping[str, float]) -> float:
        """Memory that a worker may use of a GPU (bytes), read by a task on a node that has one: Ray doesn't know it."""
        name = next((key for key in resources if key.startswith(ACCELERATOR)), node)
        if name not in self._gpu_bytes:
            there = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
            # The task requests no GPU, since it would wait if all are busy. Ray therefore hides the GPUs from it.
            measure = ray.remote(num_cpus=0, max_calls=1)(_hidden_gpu_bytes)
            self._gpu_bytes[name] = float(ray.get(measure.options(scheduling_strategy=there).remote()))
        return self._gpu_bytes[name]


def _hidden_gpu_bytes() -> float:
    """Memory that a worker may use of the first GPU (bytes), read in a process from which Ray hides the GPUs."""
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    return gpu_bytes()


def gpus_wanted(device: str, resources: Mapping[str, float]) -> int:
    """GPUs of each worker, 0 or 1: for device `auto` one if there is any."""
    return int(device == "cuda" or (device == "auto" and resources.get("GPU", 0) >= 1))


def room(resources: Mapping[str, float], threads: int, gpus: int) -> int:
    """How many workers the resources can hold, each with `threads` CPUs and `gpus` (0 or 1) GPUs."""
    by_cpu = int(resources.get("CPU", 0) // threads)
    return min(by_cpu, int(resources.get("GPU", 0))) if gpus else by_cpu


def _init(address: str) -> None:
    on_terminate = signal.getsignal(signal.SIGTERM)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Importing Ray configures its logger, whatever the application had set; so Ray's level is derived from ours.
    ours = logging.getLogger("phantom_dist.scheduling")
    level = logging.WARNING if ours.isEnabledFor(logging.INFO) else logging.ERROR
    quiet = {"log_to_driver": False, "logging_level": level, "configure_logging": True}
    checked = check_place(address)
    what = "starting Ray" if address == "local" else f"joining the Ray cluster at {address}"
    try:
        with activity(Activity.STARTING, what, long=True):
            if address == "local":
                ray.init(address="local", include_dashboard=False, **quiet)
            else:
                # Ray sends this machine's token only if it looks up the cluster itself.
                ray.init(address="auto" if address == "auto" else checked, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        if address == "local":
            raise not_started(error) from None
        raise not_joined(address, error, listens=True) from None
    finally:
        _handle_sigterm(on_terminate)


def _handle_sigterm(handler: Any) -> None:
    """Give SIGTERM back to the process's own handler.

    ray.init installs handlers of Python and of C++, which end the process before the run can react: the latter aborts
    it 3 s after the signal, whatever handler it calls in between.
    """
    # None: a handler that was set from C before Python started.
    if threading.current_thread() is threading.main_thread() and handler is not None:
        signal.signal(signal.SIGTERM, handler)
