"""Simulated workers for the very same driver and ledger that run on Ray (`python -m tests.benchmarks.simulated`).

Time is simulated: `wait` jumps to whatever happens next. A trial's length is log-normal (σ = 1, median 60 s). The plan
predicts it up to a log-normal error of its own (σ = `misprediction`; infinite: it knows nothing). One attempt in a
hundred fails half-way, and one in a hundred runs ten times as long, which nobody knows before.

The makespan's lower bound is the larger of the work that was done over the workers and the longest trial. A long trial
that fails half-way and runs again takes longer than that bound whatever a scheduler does.
"""

from __future__ import annotations

import heapq
import json
import math
import random
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from phantom_dist.core.outcome import Outcome
from phantom_dist.scheduling.driver import drive
from phantom_dist.scheduling.executor import Executor, Finished
from phantom_dist.scheduling.messages import Done, Failed, GiveUp, Joined, Start

MEDIAN_S, SIGMA = 60.0, 1.0
FAILURES = STRAGGLERS = 0.01
SLOWER = 10.0
MODELS = 40


@dataclass(frozen=True, slots=True)
class SimulatedTask:
    """One trial as the ledger sees a task: that it has a name, a model, size and predicted time; `real`: its own."""

    id: int
    model: str
    seconds: float
    real: float
    size: int = 1
    memory_bytes: float = 0.0


def simulated_tasks(count: int, models: int, misprediction: float, seed: int) -> list[Any]:
    """Tasks of log-normal times (s), models in turn."""
    draw = random.Random(seed)
    tasks = []
    for i in range(count):
        real = MEDIAN_S * draw.lognormvariate(0.0, SIGMA)
        known = math.isfinite(misprediction)
        predicted = real * draw.lognormvariate(0.0, misprediction) if known else MEDIAN_S
        tasks.append(SimulatedTask(i, f"model-{i % models}", predicted, real))
    return tasks


class SimulatedExecutor(Executor):
    """So many workers; what they do, and how long it takes, is drawn by a seed.

    `executed`: seconds of work that was reported done. `lost`: those of failed and stopped attempts. `longest`: of what
    was reported done. `copies`: attempts that were stopped, because another one was first.
    """

    def __init__(self, workers: int, seed: int) -> None:
        self._joining = deque(f"w{i}" for i in range(workers))
        self._count = workers
        self._draw = random.Random(seed)
        self._now = 0.0
        self._ends: list[tuple[float, int, bool]] = []
        self._running: dict[int, tuple[Start, float]] = {}
        self._lease_of: dict[str, int] = {}
        self.executed = self.lost = self.longest = 0.0
        self.copies = 0

    @property
    def workers(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(f"w{i}" for i in range(self._count))

    def now(self) -> float:
        """Simulated seconds since the start."""
        return self._now

    def start(self, command: Start) -> None:
        """Draw how long it will take, and whether it fails."""
        task: Any = command.task
        slow, fails = self._draw.random() < STRAGGLERS, self._draw.random() < FAILURES
        length = task.real * (SLOWER if slow else 1.0) * (0.5 if fails else 1.0)
        self._running[command.lease] = (command, self._now)
        self._lease_of[command.worker] = command.lease
        heapq.heappush(self._ends, (self._now + length, command.lease, fails))

    def wait(self, timeout: float) -> Finished | Joined | None:
        """Announce who is new, else jump to the next end, at most `timeout` seconds ahead."""
        if self._joining:
            return Joined(self._joining.popleft())
        while self._ends and self._ends[0][1] not in self._running:
            heapq.heappop(self._ends)
        if not self._ends or self._ends[0][0] > self._now + timeout:
            self._now += timeout
            return None
        self._now, lease, fails = heapq.heappop(self._ends)
        command, since = self._running.pop(lease)
        taken = self._now - since
        if fails:
            self.lost += taken
            return Finished(Failed(command.worker, lease, Outcome.ERROR, "simulated"), command.task)
        self.executed += taken
        self.longest = max(self.longest, taken)
        return Finished(Done(command.worker, lease), command.task)

    def replace(self, worker: str) -> None:
        """End what the worker does."""
        held = self._running.pop(self._lease_of.pop(worker, 0), None)
        if held is not None:
            self.lost += self._now - held[1]
            self.copies += 1
        self._joining.append(worker)

    def close(self) -> None:
        """Nothing to end."""


class Counted:
    """The owner of simulated work: nothing follows from it, nothing is stored, all ends are counted."""

    def __init__(self) -> None:
        self.ended: Counter[int] = Counter()
        self.given_up = 0

    def on_start(self, command: Start) -> None:
        """Nothing to note."""

    def on_done(self, finished: Finished) -> Iterable[Any]:
        """Count it."""
        task: Any = finished.task
        self.ended[task.id] += 1
        return ()

    def on_give_up(self, command: GiveUp) -> Iterable[Any]:
        """Count it."""
        task: Any = command.task
        self.ended[task.id] += 1
        self.given_up += 1
        return ()

    def on_discard(self, task: Any) -> None:
        """Nothing is stored."""

    def on_heartbeat(self) -> bool:
        """Go on."""
        return True

    def grant(self, number: int) -> None:
        """Nothing is stored."""

    def end(self, number: int) -> None:
        """Nothing is stored."""


def simulate(workers: int, trials: int, misprediction: float, seed: int) -> dict[str, float]:
    """Drive so many trials on so many workers; `ended` counts each trial that ended once, done or given up."""
    executor, counted = SimulatedExecutor(workers, seed), Counted()
    tasks = simulated_tasks(trials, MODELS, misprediction, seed)
    began = time.process_time()
    drive(executor, tasks, counted, counted)
    cpu = time.process_time() - began
    bound = max(executor.executed / workers, executor.longest)
    return {
        "misprediction": misprediction,
        "makespan_over_bound": executor.now() / bound,
        "driver_us_per_trial": 1e6 * cpu / trials,
        "ended": sum(count == 1 for count in counted.ended.values()),
        "given_up": counted.given_up,
        "copies": executor.copies,
        "lost_share": executor.lost / executor.executed,
    }


if __name__ == "__main__":
    size = [int(value) for value in sys.argv[1:]] or [10_000, 1_000_000]
    for error in (0.0, 0.3, math.inf):
        print(json.dumps(simulate(size[0], size[1], error, seed=0)), flush=True)
