"""The machines of a Ray cluster: one that is started here and ended afterwards, or one that runs and is joined."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from phantom_dist.core.activity import Activity, activity
from phantom_dist.scheduling.cluster import Cluster
from phantom_dist.scheduling.executor import Executor, WorkerSettings
from phantom_dist.scheduling.ray_place import check_place, not_joined, not_started
from phantom_dist.scheduling.this_machine import gpu_bytes, worker_kind
from phantom_dist.scheduling.worker_kind import WorkerKind, merge_alike

ACCELERATOR = "accelerator_type:"
"""How Ray calls the resource that tells a node's kind of GPU."""


class RayCluster(Cluster):
    """Machines that Ray knows.

    Ray is started or joined by the first call that needs it. A Ray that this process has joined already (a notebook's
    own) is used as it is and left running.

    Args:
        address: `local` starts a Ray on this machine; `auto`, `HOST:PORT` and `ray://HOST:PORT` join one.

    Raises:
        InputError: Ray can't be started here, or nobody listens at the address. It is checked before anything is
            written that would then be of no use.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.workers_share_cache = address == "local"
        self._connected_here = False
        self._is_this_machine = address == "local" and not ray.is_initialized()
        self._gpu_bytes: dict[str, float] = {}  # of each kind of GPU
        if not ray.is_initialized():
            check_place(address)

    @property
    def grows(self) -> bool:
        """Whether machines may join later."""
        return self.address != "local"

    def connect(self) -> None:
        """Start Ray or join it, unless this process already has.

        Raises:
            InputError: it can't be.
        """
        if ray.is_initialized():
            return
        _init(self.address)
        self._connected_here = True

    def resources(self) -> dict[str, float]:
        """What the cluster offers, by Ray's names (CPU, GPU, memory in bytes, …)."""
        self.connect()
        return dict(ray.cluster_resources())

    def worker_kinds(self, device: str, threads: int) -> tuple[WorkerKind, ...]:
        """Those of all nodes that are alive; of this machine where Ray is going to be started here."""
        if self._is_this_machine:
            return (worker_kind(device, threads),)
        return merge_alike(self._kinds(device, threads).values())

    def memory_of(self, node: str, device: str, threads: int) -> float:
        """What a worker on the node of that id may plan with (bytes)."""
        if self._is_this_machine:
            return worker_kind(device, threads).memory_bytes
        kind = self._kinds(device, threads).get(node)
        return 0.0 if kind is None else kind.memory_bytes

    def executor(self, settings: WorkerSettings, workers: int | None, useful: int) -> Executor:
        """Actors; see `ray_executor`."""
        from phantom_dist.scheduling.ray_executor import RayExecutor

        return RayExecutor(settings, self, workers, useful)

    def close(self) -> None:
        """End Ray if it was started here, leave it if it was joined."""
        if self._connected_here:
            ray.shutdown()
            self._connected_here = False

    def _kinds(self, device: str, threads: int) -> dict[str, WorkerKind]:
        """The workers that each node has room for, by the node's id."""
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
                memory = self._gpu_bytes_of(name, resources)
                yield name, WorkerKind(count=count, memory_bytes=memory, on_gpu=True)
            elif count:
                # Free memory when Ray started there, without its object store; Ray respects a container's limit.
                yield name, WorkerKind(count=count, memory_bytes=float(resources.get("memory", 0.0)) / count)

    def _gpu_bytes_of(self, node: str, resources: Mapping[str, float]) -> float:
        """Ray knows a GPU's name and not its memory, so one node with such a GPU is asked."""
        name = next((key for key in resources if key.startswith(ACCELERATOR)), node)
        if name not in self._gpu_bytes:
            there = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
            # It asks for no GPU: all of them may be busy, and it would wait for one. So Ray hides them from it.
            measure = ray.remote(num_cpus=0, max_calls=1)(_hidden_gpu_bytes)
            self._gpu_bytes[name] = float(ray.get(measure.options(scheduling_strategy=there).remote()))
        return self._gpu_bytes[name]


def _hidden_gpu_bytes() -> float:
    """Memory of the first GPU, in a process of its own that Ray gave none."""
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    return gpu_bytes()


def room(resources: Mapping[str, float], threads: int, gpus: int) -> int:
    """How many workers of so many CPU threads, and of one GPU each where `gpus` is 1, the resources suffice for."""
    by_cpu = int(resources.get("CPU", 0) // threads)
    return min(by_cpu, int(resources.get("GPU", 0))) if gpus else by_cpu


def _init(address: str) -> None:
    on_terminate = signal.getsignal(signal.SIGTERM)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Ray sets its own logger up as it is imported, whatever the application had set, so its warnings follow our level.
    ours = logging.getLogger("phantom_dist.scheduling")
    level = logging.WARNING if ours.isEnabledFor(logging.INFO) else logging.ERROR
    quiet = {"log_to_driver": False, "logging_level": level, "configure_logging": True}
    found = check_place(address)
    what = "starting Ray" if address == "local" else f"joining the Ray cluster at {address}"
    try:
        with activity(Activity.STARTING, what, long=True):
            if address == "local":
                ray.init(address="local", include_dashboard=False, **quiet)
            else:
                # Ray takes this machine's token along only where it looks the cluster up itself.
                ray.init(address="auto" if address == "auto" else found, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        if address == "local":
            raise not_started(error) from None
        raise not_joined(address, error, listens=True) from None
    finally:
        # ray.init takes SIGTERM for itself and would end the process before the run can react.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_terminate)
