"""A Ray cluster of this machine's own: a head without CPUs and nodes of one, each a process tree that can be ended.

All on 127.0.0.1, or each on a host of `tests.chaos.hosts`; the driver is where the head is.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tests.chaos.hosts import Hosts
from tests.servers.ports import free_ports

START_S = 180.0

QUICK = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    # Ray takes a node for dead after three missed checks of a second instead of half a minute.
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
}
"""Environment of every process: as users have it, only that Ray gives up sooner."""


class Cluster:
    """Nodes by name; `head` has the cluster's state and no CPU."""

    def __init__(
        self, folder: Path, environment: Mapping[str, str], nodes: int, hosts: Hosts | None = None
    ) -> None:
        self._folder = folder
        self._hosts = hosts
        self._environment = os.environ | QUICK | dict(environment)
        bin_folder = str(Path(sys.executable).parent)
        self._environment["PATH"] = f"{bin_folder}{os.pathsep}{self._environment['PATH']}"
        self._names = [f"node-{i}" for i in range(nodes)]
        self._nodes: dict[str, psutil.Process] = {}
        self._stopped: list[tuple[float, psutil.Process]] = []
        self.address = ""

    # -- life ----------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start what doesn't run: the head first, with a new port."""
        if not self._alive("head"):
            self.end()
            (port,) = free_ports(1)
            self.address = f"{self._ip('head')}:{port}"
            if not self._node("head", "--head", f"--port={port}", "--num-cpus=0"):
                raise RuntimeError(f"the head didn't start; see {self._folder}")
        self.mend()

    def mend(self) -> None:
        """Start the nodes that don't run; nothing happens where the head is dead or stands still."""
        for name in self._names:
            if self._alive("head") and not self._alive(name):
                self._node(name, f"--address={self.address}", "--num-cpus=1")

    def _ip(self, name: str) -> str:
        return "127.0.0.1" if self._hosts is None else self._hosts.address(name)

    def _on(self, name: str) -> list[str]:
        return [] if self._hosts is None else self._hosts.command(name)

    def _node(self, name: str, *arguments: str) -> bool:
        log = self._folder / f"{name}-{time.time_ns()}.log"
        command = [
            *self._on(name),
            "ray",
            "start",
            "--block",
            f"--node-ip-address={self._ip(name)}",
            "--num-gpus=0",
        ]
        command += ["--include-dashboard=false"] if name == "head" else []
        with log.open("wb") as stream:
            self._nodes[name] = psutil.Popen(
                [*command, *arguments],
                env=self._environment,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        until = time.monotonic() + START_S
        while "Ray runtime started" not in log.read_text():
            if time.monotonic() > until or not self._alive(name):
                self._end(self._nodes.pop(name))
                return False
            time.sleep(0.1)
        return True

    def end(self) -> None:
        """End every process of the cluster, by its id."""
        for name in list(self._nodes):
            self._end(self._nodes.pop(name))
        for _, process in self._stopped:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._stopped.clear()

    @staticmethod
    def _end(node: psutil.Process) -> None:
        with suppress(psutil.NoSuchProcess):
            tree = [*node.children(recursive=True), node]
            for process in tree:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(tree, timeout=30)

    def _alive(self, name: str) -> bool:
        node = self._nodes.get(name)
        return node is not None and node.is_running() and node.status() != psutil.STATUS_ZOMBIE

    def driver(self, arguments: Sequence[str], log: Path) -> psutil.Popen:
        """A `phantom-dist` of its own session."""
        with log.open("ab") as stream:
            return psutil.Popen(
                [
                    *self._on("head"),
                    sys.executable,
                    "-m",
                    "phantom_dist",
                    *arguments,
                    "--address",
                    self.address,
                ],
                env=self._environment | {"PYTHONPATH": str(Path(__file__).parents[2])},
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )

    # -- what can be hit -----------------------------------------------------------------------------------------------

    def workers(self) -> list[psutil.Process]:
        """The actors' processes on all nodes."""
        return [
            p for name in self._names for p in self._children(name) if _title(p).startswith("ray::RayWorker")
        ]

    def raylet(self, name: str) -> list[psutil.Process]:
        """The raylet of a node."""
        return [p for p in self._children(name) if _title(p).endswith("/raylet")]

    def state(self) -> list[psutil.Process]:
        """The process on the head that has the cluster's state."""
        return [p for p in self._children("head") if _title(p).endswith("/gcs_server")]

    def raylets(self) -> list[psutil.Process]:
        """The raylets of all nodes with CPUs."""
        return [p for name in self._names for p in self.raylet(name)]

    def _children(self, name: str) -> list[psutil.Process]:
        node = self._nodes.get(name)
        with suppress(psutil.NoSuchProcess):
            return node.children(recursive=True) if node is not None else []
        return []

    def stop(self, process: psutil.Process) -> None:
        """SIGSTOP, until `wake`."""
        process.send_signal(signal.SIGSTOP)
        self._stopped.append((time.monotonic(), process))

    def wake(self, older_than: float) -> None:
        """SIGCONT to what was stopped so long ago (s): it comes back from the dead."""
        now = time.monotonic()
        for since, process in list(self._stopped):
            if now - since >= older_than:
                self._stopped.remove((since, process))
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGCONT)


def _title(process: psutil.Process) -> str:
    with suppress(psutil.NoSuchProcess, psutil.ZombieProcess, IndexError):
        return process.cmdline()[0]
    return ""
