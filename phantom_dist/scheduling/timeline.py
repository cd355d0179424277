"""A run's timeline: the attempts at each task, and where the workers' time went.

`timeline_reader` reads it from the run's events. Nothing here is a result of the run.

The time of a worker, from when it is first ready until its driver ends, is the sum of these shares:

| share | meaning |
|---|---|
| `loading`, `probing`, `training`, `storing` | measured by the worker during attempts that succeeded |
| `overhead` | the rest of those attempts: transfer of the task and its summaries |
| `lost` | attempts without a result: failed, lost, preempted, stuck, superseded, or cut off by their driver's end |
| `replacing` | between the loss of a process and the readiness of the next one |
| `waiting` | ready, without a task |
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from phantom_dist.core.activity import Activity

MEASURED = (Activity.LOADING, Activity.PROBING, Activity.TRAINING, Activity.STORING)
"""The activities that a worker measures during a task."""

OVERHEAD, LOST, REPLACING, WAITING = "overhead", "lost", "replacing", "waiting"

SHARES = (*(kind.value for kind in MEASURED), OVERHEAD, LOST, REPLACING, WAITING)
"""The shares of the workers' time, in display order."""


class End(StrEnum):
    """How an attempt ended. `running`: it has not ended; `cut_off`: its driver died or was interrupted before."""

    DONE = "done"
    FAILED = "failed"
    OUT_OF_MEMORY = "out_of_memory"
    LOST = "lost"
    PREEMPTED = "preempted"
    STUCK = "stuck"
    SUPERSEDED = "superseded"
    CUT_OFF = "cut_off"
    RUNNING = "running"


ENDINGS = {
    End.DONE: "done",
    End.FAILED: "failed",
    End.OUT_OF_MEMORY: "out of memory",
    End.LOST: "worker lost",
    End.PREEMPTED: "machine taken away",
    End.STUCK: "stuck",
    End.SUPERSEDED: "another copy was first",
    End.CUT_OFF: "cut off with its driver",
    End.RUNNING: "running",
}
"""How an attempt ended, as text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One attempt of a worker at a task.

    Attributes:
        start: number of the driver's start, from 1.
        lease: number of the lease within that start.
        number: number of the attempt, from 1; a preempted attempt doesn't count.
        copy: whether the task ran on another worker at the same time.
        predicted_s: predicted time (s).
        added, began, ended: times in seconds since 1970.
        activities: seconds by activity.
    """

    task: str
    task_kind: str
    model: str
    size: int
    worker: str
    host: str | None
    process: int | None
    start: int
    lease: int
    number: int
    copy: bool
    predicted_s: float | None
    added: float | None
    began: float
    ended: float
    end: End
    message: str | None = None
    activities: Mapping[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """Its duration."""
        return self.ended - self.began

    def to_json(self) -> dict[str, Any]:
        """The attempt as `status --json` shows it."""
        return {
            "worker": self.worker,
            "host": self.host,
            "process": self.process,
            "start": self.start,
            "attempt": self.number,
            "copy": self.copy,
            "began": self.began,
            "seconds": self.seconds,
            "predicted_seconds": self.predicted_s,
            "end": self.end.value,
            "reason": self.message,
            "activities": dict(self.activities),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class DriverStart:
    """One start of the run's driver.

    Attributes:
        number: from 1.
        began, ended: times in seconds since 1970; `ended` is the last known time if it runs or died.
        how: how it ended; None while it runs, or if it died.
        over: whether it has ended.
        first_worker: when its first worker was ready; None if none ever was.
        activities: seconds of the driver by activity.
    """

    number: int
    host: str | None
    process: int | None
    began: float
    ended: float
    how: str | None
    over: bool
    first_worker: float | None
    activities: Mapping[str, float]

    @property
    def seconds(self) -> float:
        """Duration up to its end, or to the last known time."""
        return self.ended - self.began

    @property
    def start_s(self) -> float:
        """Seconds until the first worker was ready; the whole duration if none ever was."""
        return (self.ended if self.first_worker is None else self.first_worker) - self.began

    @property
    def end(self) -> str:
        """How it ended, as text; `died` if it wrote no `run_ended`."""
        return (self.how or "died") if self.over else "running"

    def to_json(self) -> dict[str, Any]:
        """The start as `status --json` shows it."""
        return {
            "host": self.host,
            "process": self.process,
            "began": self.began,
            "seconds": self.seconds,
            "end": self.end,
            "start_seconds": self.start_s,
            "activities": dict(self.activities),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    """One worker during one start of the driver.

    Attributes:
        tasks: number of successful attempts.
        deaths: how often its process was lost.
        seconds: from when it was first ready to the end of the start.
        shares: seconds by `SHARES`; they add up to `seconds`.
    """

    name: str
    start: int
    host: str | None
    tasks: int
    deaths: int
    seconds: float
    shares: Mapping[str, float]

    @property
    def utilisation(self) -> float | None:
        """The fraction of its time that produced results; None if it had no time."""
        return _utilisation(self.shares, self.seconds)

    def to_json(self) -> dict[str, Any]:
        """The worker as `status --json` shows it."""
        return {
            "worker": self.name,
            "start": self.start,
            "host": self.host,
            "tasks": self.tasks,
            "deaths": self.deaths,
            "seconds": self.seconds,
            "utilisation": self.utilisation,
            "shares": dict(self.shares),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Incident:
    """An event other than an attempt.

    `kind`: `split` or `given_up` (a task), `start_failed` (a worker), `retried` (a request to a store).
    """

    kind: str
    time: float
    task: str | None = None
    worker: str | None = None
    parts: tuple[str, ...] = ()
    message: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """The history of a task: its attempts in order, and the tasks that it was split from and into.

    `given_up`: the error with which it was given up; None if it was not.
    """

    task: str
    attempts: tuple[Attempt, ...]
    split_from: str | None = None
    split_into: tuple[str, ...] = ()
    given_up: str | None = None

    @property
    def eventful(self) -> bool:
        """Whether it took more than one attempt, was split, or failed."""
        smooth = [attempt.end for attempt in self.attempts] in ([End.DONE], [End.RUNNING], [])
        return not smooth or bool(self.split_into) or self.given_up is not None

    def to_json(self) -> dict[str, Any]:
        """The story as `status --json` shows it."""
        first = self.attempts[0] if self.attempts else None
        return {
            "task": self.task,
            "kind": None if first is None else first.task_kind,
            "model": None if first is None else first.model,
            "size": None if first is None else first.size,
            "attempts": [attempt.to_json() for attempt in self.attempts],
            "split_from": self.split_from,
            "split_into": list(self.split_into),
            "given_up": self.given_up,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Timeline:
    """The history of a run over all starts of its driver."""

    starts: tuple[DriverStart, ...]
    attempts: tuple[Attempt, ...]
    workers: tuple[Worker, ...]
    incidents: tuple[Incident, ...]

    def story(self, task: str) -> Story:
        """The history of a task; without attempts if the task is unknown."""
        splits = [incident for incident in self.incidents if incident.kind == "split"]
        return Story(
            task=task,
            attempts=tuple(attempt for attempt in self.attempts if attempt.task == task),
            split_from=next((s.task for s in splits if task in s.parts), None),
            split_into=next((s.parts for s in splits if s.task == task), ()),
            given_up=next(
                (i.message for i in self.incidents if i.kind == "given_up" and i.task == task), None
            ),
        )

    def stories(self) -> list[Story]:
        """The tasks that took more than one attempt, were split, or failed, in the order in which they started."""
        by_task: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in self.attempts:
            by_task[attempt.task].append(attempt)
        with_incident = {incident.task for incident in self.incidents if incident.task is not None}
        stories = (
            self.story(task)
            for task, attempts in by_task.items()
            if task in with_incident or len(attempts) > 1 or attempts[0].end is not End.DONE
        )
        return [story for story in stories if story.eventful]

    def ancestry(self, task: str) -> list[Story]:
        """The stories of a task and of the tasks from which it was split, oldest first."""
        stories = [self.story(task)]
        while (parent := stories[0].split_from) is not None and len(stories) < 64:
            stories.insert(0, self.story(parent))
        return stories

    def shares(self) -> dict[str, float]:
        """The time of all workers: seconds by `SHARES`."""
        return {share: sum(worker.shares[share] for worker in self.workers) for share in SHARES}

    @property
    def worker_seconds(self) -> float:
        """The time of all workers together."""
        return sum(worker.seconds for worker in self.workers)

    @property
    def utilisation(self) -> float | None:
        """The fraction of the workers' time that produced results; None if they had no time."""
        return _utilisation(self.shares(), self.worker_seconds)

    def to_json(self) -> dict[str, Any]:
        """The object `timeline` of `status --json`."""
        return {
            "seconds": sum(start.seconds for start in self.starts),
            "start_seconds": sum(start.start_s for start in self.starts),
            "worker_seconds": self.worker_seconds,
            "shares": self.shares(),
            "utilisation": self.utilisation,
            "attempts": len(self.attempts),
            "ends": {end.value: n for end in End if (n := sum(a.end is end for a in self.attempts))},
            "starts": [start.to_json() for start in self.starts],
            "workers": [worker.to_json() for worker in self.workers],
            "tasks": [story.to_json() for story in self.stories()],
            "store_retries": sum(incident.kind == "retried" for incident in self.incidents),
        }


def _utilisation(shares: Mapping[str, float], seconds: float) -> float | None:
    return sum(shares[kind.value] for kind in MEASURED) / seconds if seconds > 0 else None
