"""An executor without processes, in simulated time: a seed decides which attempts fail; each failure is recorded."""

from __future__ import annotations

import random
from dataclasses import dataclass

from phantom_dist.core.events import EventKind, RunEvent, listening, record
from phantom_dist.core.outcome import Outcome
from phantom_dist.scheduling.driver import drive
from phantom_dist.scheduling.executor import Executor, Finished, TaskOutput
from phantom_dist.scheduling.messages import Done, Failed, GiveUp, Joined, Lost, Start
from phantom_dist.scheduling.place import Place


@dataclass(frozen=True)
class Kill:
    """The end of a worker's process; `how` is a `timeline.End`."""

    worker: str
    process: int
    lease: int
    task: str
    how: str


class Stormy(Executor):
    """So many workers; a given share of the attempts fails, and some run very long.

    `kills`: attempts that ended badly. `started`: all attempts.
    """

    def __init__(self, workers: int, seed: int, bad: float, slow: float = 0.05) -> None:
        self._draw = random.Random(seed)
        self._bad, self._slow = bad, slow
        self._now = 0.0
        self._processes = 0
        self._place: dict[str, Place] = {}
        self._coming = {f"worker-{i}": self._draw.uniform(0, 5) for i in range(workers)}  # when each is ready
        self._running: dict[str, tuple[Start, float, float]] = {}  # begin and end
        self.kills: list[Kill] = []
        self.started: list[Start] = []

    @property
    def workers(self) -> tuple[str, ...]:
        """Workers that are ready."""
        return tuple(self._place)

    def now(self) -> float:
        """Simulated seconds."""
        return self._now

    def start(self, command: Start) -> None:
        """Draw the duration and the end of the attempt."""
        assert command.worker in self._place
        assert command.worker not in self._running
        length = command.task.seconds * self._draw.uniform(0.8, 1.2)
        length *= 100.0 if self._draw.random() < self._slow else 1.0
        self._running[command.worker] = command, self._now, self._now + length
        self.started.append(command)

    def wait(self, timeout: float) -> Finished | Joined | None:
        """The next event within `timeout` simulated seconds."""
        moments = [(at, worker) for worker, at in self._coming.items()]
        moments += [(end, worker) for worker, (*_, end) in self._running.items()]
        at, worker = min(moments, default=(float("inf"), ""))
        if at > self._now + timeout:
            self._now += timeout
            return None
        self._now = max(self._now, at)
        if worker in self._coming:
            del self._coming[worker]
            self._processes += 1
            self._place[worker] = Place(host="host", process=self._processes)
            return Joined(worker, place=self._place[worker])
        return self._end(worker)

    def _end(self, worker: str) -> Finished:
        command, began, _ = self._running.pop(worker)
        lease, task = command.lease, command.task
        if self._draw.random() >= self._bad:
            taken = self._now - began
            parts = {"loading": 0.2 * taken, "training": 0.6 * taken, "storing": 0.1 * taken}
            return Finished(Done(worker, lease), task, TaskOutput(activities=parts))
        how = self._draw.choice(["failed", "lost", "preempted", "out_of_memory"])
        self.kills.append(Kill(worker, self._place[worker].process, lease, task.id, how))
        message = f"the storm: {how}"
        if how == "failed":
            return Finished(Failed(worker, lease, Outcome.ERROR, message), task)
        if how == "out_of_memory":
            return Finished(Failed(worker, lease, Outcome.OUT_OF_MEMORY, message), task)
        del self._place[worker]
        return Finished(Lost(worker, lease, message, preempted=how == "preempted"), task)

    def replace(self, worker: str) -> None:
        """Start a new process, which is ready after a while."""
        self._running.pop(worker, None)
        self._place.pop(worker, None)
        self._coming[worker] = self._now + self._draw.uniform(1, 4)

    def close(self) -> None:
        """Nothing to do."""


class Everything:
    """An owner, with leases, that lets everything run; `given_up`: tasks that were given up."""

    def __init__(self) -> None:
        self.given_up: list[GiveUp] = []
        self.leases: set[int] = set()

    def grant(self, number):
        self.leases.add(number)

    def end(self, number):
        self.leases.discard(number)

    def on_start(self, command):
        pass

    def on_done(self, finished):
        return ()

    def on_give_up(self, command):
        self.given_up.append(command)
        return ()

    def on_discard(self, task):
        pass

    def on_heartbeat(self):
        return True


def weathered(executor: Stormy, tasks, owner: Everything) -> list[RunEvent]:
    """The events of a run on this executor."""
    events: list[RunEvent] = []
    with listening(events.append):
        drive(executor, tasks, owner, owner)
        ended = events[-1].time if events else 0.0
        record(RunEvent(time=ended, kind=EventKind.RUN_ENDED, message="complete"))
    start = RunEvent(time=events[0].time, kind=EventKind.RUN_STARTED, host="head", process=1)
    return [start, *events]
