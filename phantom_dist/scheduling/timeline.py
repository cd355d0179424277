"""What the events of a run (`core.events`) amount to: attempts, what became of each task, and where the time went.

Pure: events in, numbers out. Nothing here is a result.

A worker's time, from the moment it is first ready until its driver ends, is divided without rest:

| share | meaning |
|---|---|
| `loading`, `probing`, `training`, `storing` | what workers measured within attempts that were done |
| `overhead` | the rest of those attempts: handing the task and its summaries over |
| `lost` | attempts that came to nothing: failed, lost, preempted, stuck, superseded, or cut off by their driver's end |
| `replacing` | until the process that took a dead one's place was ready |
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
"""What a worker measures within a task."""

OVERHEAD, LOST, REPLACING, WAITING = "overhead", "lost", "replacing", "waiting"

SHARES = (*(kind.value for kind in MEASURED), OVERHEAD, LOST, REPLACING, WAITING)
"""The shares of the workers' time, in the order in which they are shown."""


class End(StrEnum):
    """How an attempt ended; `running`: it hasn't; `cut_off`: its driver died or was interrupted first."""

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
"""How an attempt ended, in words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Attempt:
    """One worker's go at a task. Times are seconds since 1970; `start`: the number of its driver's start, from 1."""

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
        """How long it took."""
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
    """One start of the run's driver. `how`: the way it ended; None while it runs, or where it died and wrote no end."""

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
        """From its begin to its end, or to the last that is known of it."""
        return self.ended - self.began

    @property
    def start_s(self) -> float:
        """Until the first worker was ready; all of it where none ever was."""
        return (self.ended if self.first_worker is None else self.first_worker) - self.began

    @property
    def end(self) -> str:
        """How it ended, in words: `died` where it wrote no end."""
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
    """One worker within one start of the driver. `shares`: seconds by `SHARES`; they add up to `seconds`.

    `deaths`: how often its process was lost.
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
        """The share of its time in which it did what was kept; None where it had no time."""
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
    """Something beside attempts: a task `split`, `given_up`, a worker's `start_failed`, a store's `retried` request."""

    kind: str
    time: float
    task: str | None = None
    worker: str | None = None
    parts: tuple[str, ...] = ()
    message: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """All that happened to a task: its attempts in order, the task it was split from, and those it was split into."""

    task: str
    attempts: tuple[Attempt, ...]
    split_from: str | None = None
    split_into: tuple[str, ...] = ()
    given_up: str | None = None

    @property
    def eventful(self) -> bool:
        """Whether it took more than one attempt, or came to nothing."""
        smooth = [attempt.end for attempt in self.attempts] in ([End.DONE], [End.RUNNING], [])
        return not smooth or bool(self.split_into) or self.given_up is not None

    def to_json(self) -> dict[str, Any]:
        """The story as `status --json` tells it."""
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
    """A run as it went, over all of its starts."""

    starts: tuple[DriverStart, ...]
    attempts: tuple[Attempt, ...]
    workers: tuple[Worker, ...]
    incidents: tuple[Incident, ...]

    def story(self, task: str) -> Story:
        """What happened to a task; without attempts where nothing is known of it."""
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
        """The tasks that took more than one attempt, were split, or came to nothing; in the order of their begins."""
        by_task: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in self.attempts:
            by_task[attempt.task].append(attempt)
        odd = {incident.task for incident in self.incidents if incident.task is not None}
        told = (
            self.story(task)
            for task, attempts in by_task.items()
            if task in odd or len(attempts) > 1 or attempts[0].end is not End.DONE
        )
        return [story for story in told if story.eventful]

    def ancestry(self, task: str) -> list[Story]:
        """The stories of a task and of those that it was split from, the oldest first."""
        stories = [self.story(task)]
        while (parent := stories[0].split_from) is not None and len(stories) < 64:
            stories.insert(0, self.story(parent))
        return stories

    def shares(self) -> dict[str, float]:
        """Where the time of all workers went: seconds by `SHARES`."""
        return {share: sum(worker.shares[share] for worker in self.workers) for share in SHARES}

    @property
    def worker_seconds(self) -> float:
        """The time of all workers together."""
        return sum(worker.seconds for worker in self.workers)

    @property
    def utilisation(self) -> float | None:
        """The share of the workers' time in which they did what was kept; None where they had no time."""
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
