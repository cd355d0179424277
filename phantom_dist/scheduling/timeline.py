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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from phantom_dist.core.activity import Activity
from phantom_dist.core.events import EventKind, RunEvent

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


# -- from events -----------------------------------------------------------------------------------------------------


def timeline(events: Sequence[RunEvent], *, until: float | None = None) -> Timeline | None:
    """The timeline of a run's events; None where there are none.

    Args:
        events: of all starts, in order.
        until: for a run that is live: the time up to which its driver is known to live (s since 1970). Without it a
            start that wrote no end counts as dead since its last event.
    """
    blocks = list(_blocks(events))
    if not blocks:
        return None
    read = [_Start(number, block) for number, block in enumerate(blocks, start=1)]
    for start in read[:-1]:
        start.finish(None)
    read[-1].finish(until)
    return Timeline(
        starts=tuple(start.driver() for start in read),
        attempts=tuple(sorted((a for s in read for a in s.attempts), key=lambda a: (a.start, a.lease))),
        workers=tuple(worker for start in read for worker in start.workers()),
        incidents=tuple(incident for start in read for incident in start.incidents),
    )


def _blocks(events: Iterable[RunEvent]) -> Iterator[list[RunEvent]]:
    """The events of each start."""
    block: list[RunEvent] = []
    for event in events:
        if event.kind is EventKind.RUN_STARTED and block:
            yield block
            block = []
        block.append(event)
    if block:
        yield block


_ENDS = {
    EventKind.TASK_DONE: End.DONE,
    EventKind.TASK_FAILED: End.FAILED,
    EventKind.TASK_LOST: End.LOST,
    EventKind.TASK_STUCK: End.STUCK,
    EventKind.TASK_SUPERSEDED: End.SUPERSEDED,
}

_INCIDENTS = {
    EventKind.TASK_SPLIT: "split",
    EventKind.TASK_GIVEN_UP: "given_up",
    EventKind.WORKER_START_FAILED: "start_failed",
    EventKind.STORE_RETRIED: "retried",
}


class _Start:
    """One start of the driver, read event by event."""

    def __init__(self, number: int, events: Sequence[RunEvent]) -> None:
        self.attempts: list[Attempt] = []
        self.incidents: list[Incident] = []
        self._number, self._events = number, events
        self._began, self._ended = events[0].time, max(event.time for event in events)
        self._how: str | None = None
        self._over = True
        self._activities: dict[str, float] = defaultdict(float)
        self._ready: dict[str, list[RunEvent]] = {}  # of each worker: every process that it had
        self._away: dict[str, list[tuple[float, float]]] = defaultdict(list)
        self._replaced: dict[str, float] = {}
        self._added: dict[str, float] = {}
        self._running: dict[tuple[str, int], Attempt] = {}
        for event in events:
            self._take(event)

    def _take(self, event: RunEvent) -> None:
        kind = event.kind
        if kind in _ENDS:
            self._end(event)
        elif kind in _INCIDENTS:
            self.incidents.append(
                Incident(
                    kind=_INCIDENTS[kind],
                    time=event.time,
                    task=event.task,
                    worker=event.worker,
                    parts=event.parts,
                    message=event.message,
                )
            )
        elif kind is EventKind.TASK_STARTED:
            self._begin(event)
        elif kind is EventKind.TASK_ADDED:
            self._added[event.task or ""] = event.time
        elif kind is EventKind.WORKER_READY:
            self._ready.setdefault(event.worker or "", []).append(event)
            if (since := self._replaced.pop(event.worker or "", None)) is not None:
                self._away[event.worker or ""].append((since, event.time))
        elif kind is EventKind.WORKER_REPLACED:
            self._replaced[event.worker or ""] = event.time
        elif kind is EventKind.PREPARED:
            for name, seconds in event.activities.items():
                self._activities[name] += seconds
        elif kind is EventKind.RUN_ENDED:
            self._how = event.message or "complete"

    def _begin(self, event: RunEvent) -> None:
        worker, lease, task = event.worker or "", event.lease or 0, event.task or ""
        ready = self._ready.get(worker, [None])[-1]
        self._running[worker, lease] = Attempt(
            task=task,
            task_kind=event.task_kind or "",
            model=event.model or "",
            size=event.size or 0,
            worker=worker,
            host=None if ready is None else ready.host,
            process=None if ready is None else ready.process,
            start=self._number,
            lease=lease,
            number=event.attempt or 1,
            copy=event.copy,
            predicted_s=event.predicted_s,
            added=self._added.get(task),
            began=event.time,
            ended=event.time,
            end=End.RUNNING,
        )

    def _end(self, event: RunEvent) -> None:
        begun = self._running.pop((event.worker or "", event.lease or 0), None)
        if begun is None:
            return
        end = _ENDS[event.kind]
        if event.outcome == "out_of_memory":
            end = End.OUT_OF_MEMORY
        elif event.preempted:
            end = End.PREEMPTED
        self.attempts.append(
            replace(begun, ended=event.time, end=end, message=event.message, activities=event.activities)
        )

    def finish(self, until: float | None) -> None:
        """No more events: what still runs is running, if the driver lives, else it was cut off with it."""
        if until is not None and self._how is None:
            self._over, self._ended = False, max(self._ended, until)
        end = End.CUT_OFF if self._over else End.RUNNING
        self.attempts += [replace(a, ended=self._ended, end=end) for a in self._running.values()]
        for worker, since in self._replaced.items():
            self._away[worker].append((since, self._ended))

    def driver(self) -> DriverStart:
        first = self._events[0]
        return DriverStart(
            number=self._number,
            host=first.host,
            process=first.process,
            began=self._began,
            ended=self._ended,
            how=self._how,
            over=self._over,
            first_worker=min((ready[0].time for ready in self._ready.values()), default=None),
            activities=dict(self._activities),
        )

    def workers(self) -> Iterator[Worker]:
        """Every worker that was ever ready."""
        for name, ready in self._ready.items():
            mine = [attempt for attempt in self.attempts if attempt.worker == name]
            seconds = self._ended - ready[0].time
            yield Worker(
                name=name,
                start=self._number,
                host=ready[-1].host,
                tasks=sum(attempt.end is End.DONE for attempt in mine),
                deaths=sum(attempt.end in (End.LOST, End.PREEMPTED) for attempt in mine),
                seconds=seconds,
                shares=_shares(seconds, mine, self._away[name]),
            )


def _shares(
    seconds: float, attempts: Iterable[Attempt], away: Iterable[tuple[float, float]]
) -> dict[str, float]:
    """A worker's seconds by `SHARES`; what is left of its time is waiting."""
    shares = dict.fromkeys(SHARES, 0.0)
    for attempt in attempts:
        if attempt.end is End.DONE:
            measured = {kind.value: attempt.activities.get(kind.value, 0.0) for kind in MEASURED}
            for name, value in measured.items():
                shares[name] += value
            shares[OVERHEAD] += attempt.seconds - sum(measured.values())
        elif attempt.end is End.RUNNING:  # its worker hasn't reported yet; most of it will be this
            shares["probing" if attempt.task_kind == "probe" else "training"] += attempt.seconds
        else:
            shares[LOST] += attempt.seconds
    shares[REPLACING] = sum(end - since for since, end in away)
    shares[WAITING] = seconds - sum(shares.values())
    return shares
