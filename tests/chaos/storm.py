"""A run on a real Ray cluster while its processes are killed and stopped at drawn moments, until it is through."""

from __future__ import annotations

import math
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.chaos import armed
from tests.chaos.cluster import Cluster
from tests.chaos.hit import Hit

KINDS = (
    "worker killed",
    "worker stopped",
    "driver killed",
    "node killed",
    "worker killed",
    "node stopped",
    "driver stopped",
    "head killed",
    "driver killed",
    "head stopped",
)
"""What happens, in a drawn order, each as often as it stands here."""

STOPPED_S = 8.0
"""How long a stopped process stands still before it comes back."""

RECOVERY_S = STOPPED_S + 30.0
"""How long the head or a node may need, from then on, until a new driver can join."""

HANGS_S = 60.0
"""A driver that has stored nothing for so long is killed and the run resumed, as a user would."""


@dataclass
class Toll:
    """What happened: by kind; the steps of writes that workers died at; the workers and drivers that were killed."""

    kinds: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)
    hits: list[Hit] = field(default_factory=list)
    starts: int = 0

    @property
    def kills(self) -> int:
        """Processes that were killed or stopped, those inside writes included."""
        return self.kinds.total() + self.steps.total()


class Storm:
    """A cluster, and what befalls it."""

    def __init__(self, folder: Path, sweep: Path, nodes: int, seed: int) -> None:
        self._told = folder / "told"
        self._told.mkdir(parents=True)
        self._runs = folder / "runs"
        self._log = folder / "driver.log"
        self._sweep = sweep
        self._cluster = Cluster(folder, armed.environment(self._told, self._runs, seed), nodes)
        self._draw = random.Random(seed)
        self._next: list[str] = []
        self._struck = -math.inf
        self.toll = Toll()

    def through(self, name: str, kills: int, say: Callable[[str], None]) -> Path:
        """Start a run, disturb and resume it until it is through; its directory.

        Args:
            name: of the run.
            kills: no more disturbances once there were so many in all.
            say: told what happens.

        Raises:
            RuntimeError: a driver ended with something that no disturbance explains.
        """
        out = self._runs / name
        driver = None
        try:
            while True:
                self._cluster.start()
                driver = self._start(out)
                if self._weather(driver, out, kills, say):
                    self.toll.hits += armed.deaths(self._told)
                    return out
        finally:
            if driver is not None:
                self._end(driver)
            self._cluster.end()

    def _start(self, out: Path) -> psutil.Popen:
        self.toll.starts += 1
        began = (out / "sweep.yaml").exists()
        what = ["resume", str(out)] if began else ["run", str(self._sweep), "--out", str(out)]
        return self._cluster.driver(what, self._log)

    def _weather(self, driver: psutil.Popen, out: Path, kills: int, say: Callable[[str], None]) -> bool:
        """What befalls one driver; True if its run is through, False if it has to be resumed."""
        # One that starts while the head or a node is still down may not get to Ray at all.
        unhurt, seen, since = time.monotonic() - self._struck > RECOVERY_S, -1, time.monotonic()
        pause = self._draw.uniform(1.0, 6.0)
        while True:
            with suppress(psutil.TimeoutExpired):
                status = driver.wait(pause)
                if status == 0:
                    return True
                if unhurt and status > 0:
                    raise RuntimeError(
                        f"a driver ended with status {status}: {self._log.read_text()[-3000:]}"
                    )
                say(f"the driver ended with status {status}; the run is resumed")
                return False
            self._cluster.wake(STOPPED_S)
            self._cluster.mend()
            self.toll.steps = Counter(armed.steps_of_deaths(self._told))
            stored = len(list(out.rglob("*.parquet")))
            if stored > seen:
                seen, since = stored, time.monotonic()
            if time.monotonic() - since > HANGS_S:
                say("nothing has been stored for a minute: the driver is killed")
                self._end(driver)
                continue
            pause = 0.5
            if self.toll.kills < kills and stored > 0 and self._draw.random() < 0.3:
                kind = self._strike(driver)
                if kind is not None:
                    unhurt = unhurt and kind.startswith(("worker", "node", "driver stopped"))
                    if kind.startswith(("head", "node")):
                        self._struck = time.monotonic()
                    self.toll.kinds[kind] += 1
                    say(f"{kind} ({self.toll.kills})")

    def _strike(self, driver: psutil.Popen) -> str | None:
        """One disturbance; None if there is nothing that it could hit now."""
        if not self._next:
            self._next = list(KINDS)
            self._draw.shuffle(self._next)
        kind = self._next.pop()
        who, how = kind.split()
        targets = {
            "worker": self._cluster.workers,
            "node": self._cluster.raylets,
            "head": self._cluster.state,
            "driver": lambda: [driver],
        }[who]()
        targets = [p for p in targets if p.is_running() and p.status() not in ("stopped", "zombie")]
        if not targets:
            return None
        target = self._draw.choice(sorted(targets, key=lambda p: p.pid))
        with suppress(psutil.NoSuchProcess):
            if how == "killed":
                if who in ("worker", "driver"):
                    now = time.time()
                    age = now - target.create_time()
                    self.toll.hits.append(Hit(who=who, time=now, process=target.pid, age=age))
                target.kill()
            else:
                self._cluster.stop(target)
            return kind
        return None

    @staticmethod
    def _end(process: psutil.Popen) -> None:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
            process.wait(30)
