"""The executor on Ray: long-lived actors, one task each at a time.

`local` starts a Ray of its own on this machine and ends it afterwards; `auto` and `ray://…` join one that runs.
Nothing large passes through the driver: workers store their own batches and send back summaries.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RaySystemError, RayTaskError

from phantom_dist.core.errors import InputError, OutOfMemory, StoreError
from phantom_dist.core.outcome import Outcome
from phantom_dist.scheduling.executor import Executor, Finished, WorkerSettings
from phantom_dist.scheduling.inprocess import describe
from phantom_dist.scheduling.ledger import Done, Failed, Lost, Start
from phantom_dist.scheduling.worker import Worker

CONNECT_TIMEOUT_S = 10.0
"""How long a cluster's head may take to answer a connection."""


class RayExecutor(Executor):
    """Actors on a Ray cluster, each with its CPU threads (and, on a GPU cluster, one GPU).

    Args:
        settings: how each worker is set up.
        address: `local`, `auto`, `HOST:PORT` or `ray://HOST:PORT`.
        workers: number of actors; None fills the cluster, at most `useful` of them.
        useful: number of tasks there can be at once; more workers would idle.

    Raises:
        InputError: no cluster at the address, or one without the resources for a single worker.
    """

    def __init__(self, settings: WorkerSettings, address: str, workers: int | None, useful: int) -> None:
        self._settings = settings
        self._joined_here = _connect(address)
        try:
            self._actors = self._first_actors(workers, useful)
        except BaseException:
            self._leave()
            raise
        self._running: dict[Any, Start] = {}

    def _first_actors(self, workers: int | None, useful: int) -> dict[str, Any]:
        settings, resources = self._settings, ray.cluster_resources()
        if settings.device == "cuda" and resources.get("GPU", 0) < 1:
            raise InputError(
                "device: cuda was asked for, but the Ray cluster has no GPU. Allowed here: auto, cpu."
            )
        self._gpus = 1 if settings.device != "cpu" and resources.get("GPU", 0) >= 1 else 0
        room = _room(resources, settings.threads, self._gpus)
        if room < 1:
            raise InputError(
                f"the Ray cluster has {resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs; one "
                f"worker needs {settings.threads} CPUs. Lower `execution.threads` or add nodes."
            )
        count = max(1, min(room if workers is None else workers, room, useful))
        return {f"worker-{i}": self._new_actor() for i in range(count)}

    @property
    def workers(self) -> tuple[str, ...]:
        """Names of the actors' places; an actor that dies is replaced in its place."""
        return tuple(self._actors)

    def start(self, command: Start) -> None:
        """Send the task to the actor."""
        actor = self._actors[command.worker]
        self._running[actor.do.remote(command.task, command.attempt)] = command

    def wait(self, timeout: float) -> Finished | None:
        """The next task that ended; a dead actor's task counts as lost."""
        ready, _ = ray.wait(list(self._running), num_returns=1, timeout=timeout)
        if not ready:
            return None
        started = self._running.pop(ready[0])
        worker, lease, task = started.worker, started.lease, started.task
        try:
            origins, rows = ray.get(ready[0])
        except OutOfMemoryError as error:
            self.replace(worker)  # Ray's memory monitor has killed its process
            return Finished(Failed(worker, lease, Outcome.OUT_OF_MEMORY, describe(error)), task)
        except RayTaskError as error:
            return Finished(_failed(started, error.cause), task)
        except (RayActorError, RaySystemError) as error:
            preempted = isinstance(error, RayActorError) and bool(error.preempted)
            return Finished(Lost(worker, lease, describe(error), preempted), task)
        return Finished(Done(worker, lease), task, origins, rows)

    def replace(self, worker: str) -> None:
        """A new actor in the place of one that is dead, or killed now."""
        self._running = {ref: held for ref, held in self._running.items() if held.worker != worker}
        ray.kill(self._actors[worker])
        self._actors[worker] = self._new_actor()

    def close(self) -> None:
        """Kill the actors, and end Ray if it was started here."""
        for actor in self._actors.values():
            ray.kill(actor)
        self._leave()

    def _leave(self) -> None:
        if self._joined_here:
            ray.shutdown()

    def _new_actor(self) -> Any:
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
        return ray.remote(Worker).options(**options).remote(self._settings)


def cluster_resources(address: str) -> dict[str, float]:
    """What a running cluster offers, by Ray's names (CPU, GPU, memory in bytes, …).

    Raises:
        InputError: no cluster at the address.
    """
    joined_here = _connect(address)
    try:
        return dict(ray.cluster_resources())
    finally:
        if joined_here:
            ray.shutdown()


def _connect(address: str) -> bool:
    """Join or start Ray; False if this process has joined one already (a notebook's own), which is then used."""
    if ray.is_initialized():
        return False
    on_terminate = signal.getsignal(signal.SIGTERM)
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    quiet = {"log_to_driver": False, "logging_level": logging.WARNING, "configure_logging": True}
    try:
        if address == "local":
            ray.init(address="local", include_dashboard=False, **quiet)
        else:
            _check_reachable(address)
            ray.init(address=address, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        first_line = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"--address {address}: no Ray cluster could be joined there ({first_line}). Allowed: `local` starts one on "
            f"this machine, `auto` joins the one that runs here, ray://HOST:10001 or HOST:6379 another."
        ) from None
    finally:
        # ray.init takes SIGTERM for itself and would end the process without a word to the run.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_terminate)
    return True


def _check_reachable(address: str) -> None:
    """Raise OSError at once where nobody listens; ray.init itself would go on trying for minutes."""
    if address == "auto":
        named = os.environ.get("RAY_ADDRESS", "auto")
        address = _cluster_of_this_machine() if named in ("auto", "local", "") else named
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        raise ValueError("the address has no port")
    socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT_S).close()


def _cluster_of_this_machine() -> str:
    """The address that `ray start` leaves for later commands on its machine."""
    try:
        return Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray", "ray_current_cluster").read_text().strip()
    except FileNotFoundError:
        raise ConnectionError("no cluster runs on this machine") from None


def _room(resources: dict[str, float], threads: int, gpus: int) -> int:
    by_cpu = int(resources.get("CPU", 0) // threads)
    return min(by_cpu, int(resources["GPU"])) if gpus else by_cpu


def _failed(started: Start, cause: BaseException) -> Failed:
    if isinstance(cause, InputError | StoreError):
        raise cause
    if isinstance(cause, OutOfMemory):
        return Failed(started.worker, started.lease, Outcome.OUT_OF_MEMORY, str(cause))
    return Failed(started.worker, started.lease, Outcome.ERROR, describe(cause))
