"""Typed events of a run: the source of the log, `events.jsonl`, `status --timeline` and the report's timeline.

| kind | meaning |
|---|---|
| `run_started`, `run_ended` | a driver starts (`host`, `process`); it ends in an orderly way (`message`: how) |
| `prepared` | the driver finished a preparation without which no task can start; `activities`: seconds by activity |
| `task_added` | a new task waits |
| `task_started` | a worker gets a task under a lease (`attempt`; `copy`: the task also runs on another worker) |
| `task_done` | the worker finished and stored the task; `activities`: seconds by activity |
| `task_failed`, `task_lost` | the task raised an error; its worker died, or its machine was taken away (`preempted`) |
| `task_stuck` | the task ran so much longer than predicted that the driver ended its worker |
| `task_superseded` | a copy of the task finished first (`message`: on which worker), so the driver ended this worker |
| `task_split`, `task_given_up` | the task continues as the tasks `parts`; it ends with `outcome` |
| `worker_ready`, `worker_replaced`, `worker_start_failed` | a worker's process (`host`, `node`, `process`) |
| `draining` | no further task starts |
| `store_retried` | a request to an object store failed and is repeated |

Every event is logged by the logger of the package that it belongs to, with the event itself as the log record's
attribute `event`. As usual for a library, nothing is printed unless the application installs handlers.

Events reach `events.jsonl` through `listening`, not through a logging handler, which would lose them if an application
raised a logger's level.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any


class EventKind(StrEnum):
    """The kind of an event; see the table of the module."""

    RUN_STARTED = "run_started"
    PREPARED = "prepared"
    TASK_ADDED = "task_added"
    TASK_STARTED = "task_started"
    TASK_DONE = "task_done"
    TASK_FAILED = "task_failed"
    TASK_LOST = "task_lost"
    TASK_STUCK = "task_stuck"
    TASK_SUPERSEDED = "task_superseded"
    TASK_SPLIT = "task_split"
    TASK_GIVEN_UP = "task_given_up"
    WORKER_READY = "worker_ready"
    WORKER_REPLACED = "worker_replaced"
    WORKER_START_FAILED = "worker_start_failed"
    DRAINING = "draining"
    STORE_RETRIED = "store_retried"
    RUN_ENDED = "run_ended"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunEvent:
    """One event. Fields that its kind doesn't use keep their default.

    Attributes:
        time: seconds since 1970, UTC.
        task: the task's id, which is its batch's name in the tables; `task_kind`: `probe` or `train`.
        size: number of problems that the task probes, or of trials that it trains.
        lease: number of the lease, unique within one start of the driver; it lasts from `task_started` to the end of
            the attempt.
        attempt: number of failures so far plus one, so a preempted task keeps its number.
        parts: the tasks into which a task was split.
        predicted_s: the plan's prediction of the task's time (s).
        activities: seconds by `core.activity.Activity`.
        node: Ray's id of the worker's node; `process`: a process's id on its host.
    """

    time: float
    kind: EventKind
    task: str | None = None
    task_kind: str | None = None
    model: str | None = None
    size: int | None = None
    worker: str | None = None
    lease: int | None = None
    attempt: int | None = None
    copy: bool = False
    preempted: bool = False
    outcome: str | None = None
    message: str | None = None
    parts: tuple[str, ...] = ()
    predicted_s: float | None = None
    activities: Mapping[str, float] = field(default_factory=dict)
    host: str | None = None
    node: str | None = None
    process: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields that differ from their defaults; the time as ISO 8601."""
        row: dict[str, Any] = {
            name: value for name in _NAMES if (value := getattr(self, name)) not in (None, False, (), {})
        }
        if self.activities:
            row["activities"] = {name: round(seconds, 6) for name, seconds in self.activities.items()}
        moment = datetime.fromtimestamp(self.time, UTC).isoformat(timespec="microseconds")
        return row | {"time": moment, "kind": self.kind.value}

    @staticmethod
    def from_json(row: Mapping[str, Any]) -> RunEvent:
        """Decode an object of `to_json`; keys of newer versions are ignored.

        Raises:
            ValueError, TypeError, KeyError: not an event, or of a kind that this version doesn't know.
        """
        known = {name: row[name] for name in _NAMES if name in row}
        known["time"] = datetime.fromisoformat(row["time"]).timestamp()
        known["kind"] = EventKind(row["kind"])
        return RunEvent(**known | {"parts": tuple(row.get("parts", ()))})

    def __str__(self) -> str:
        """One line of text."""
        return _TEXTS[self.kind](self)


_NAMES = tuple(f.name for f in dataclasses.fields(RunEvent))

Listener = Callable[[RunEvent], None]

_listeners: ContextVar[tuple[Listener, ...]] = ContextVar("phantom_dist_listeners", default=())

_LOGGERS = {
    "run": logging.getLogger("phantom_dist.campaign"),
    "prepared": logging.getLogger("phantom_dist.campaign"),
    "task": logging.getLogger("phantom_dist.scheduling"),
    "worker": logging.getLogger("phantom_dist.scheduling"),
    "draining": logging.getLogger("phantom_dist.scheduling"),
    "store": logging.getLogger("phantom_dist.traces.store"),
}

# Not at `phantom_dist` itself: without any handler Python prints warnings to stderr, and those of
# `phantom_dist.monitor` must reach people who never configured logging.
for _name in ("campaign", "scheduling", "traces", "models", "activity"):
    logging.getLogger(f"phantom_dist.{_name}").addHandler(logging.NullHandler())

_WARNINGS = frozenset(
    {
        EventKind.TASK_FAILED,
        EventKind.TASK_LOST,
        EventKind.TASK_STUCK,
        EventKind.TASK_SPLIT,
        EventKind.TASK_GIVEN_UP,
        EventKind.WORKER_START_FAILED,
        EventKind.STORE_RETRIED,
    }
)


def record(event: RunEvent) -> None:
    """Log an event and pass it to all listeners."""
    level = logging.WARNING if event.kind in _WARNINGS else logging.INFO
    _LOGGERS[event.kind.partition("_")[0]].log(level, "%s", event, extra={"event": event})
    for listener in _listeners.get():
        listener(event)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Pass the listener every event that is recorded in this context (`contextvars`) during the block."""
    token = _listeners.set((*_listeners.get(), listener))
    try:
        yield
    finally:
        _listeners.reset(token)


# -- events as text ---------------------------------------------------------------------------------------------------

SHORT = 200
"""Characters of an error's message that a line of text shows; `events.jsonl` has the whole message."""


def task_name(task: str | None, kind: str | None, size: int | None, model: str | None) -> str:
    """A description of a task: `batch 1f0c… (24 trials of zoo:gpt2-a)`."""
    members = {"probe": "problem", "train": "trial"}.get(kind or "", "part")
    word = "probe" if kind == "probe" else "batch"
    return f"{word} {task} ({size} {members}{'' if size == 1 else 's'} of {model})"


def shortened(message: str | None) -> str:
    """A message on one line, of at most `SHORT` characters."""
    line = " ".join((message or "").split())
    return line if len(line) <= SHORT else f"{line[: SHORT - 1]}…"


def seconds_by_activity(activities: Mapping[str, float]) -> str:
    """Text such as `loading 3.2 s, training 41.0 s`; empty without activities."""
    return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in activities.items())


def _task(event: RunEvent) -> str:
    return task_name(event.task, event.task_kind, event.size, event.model)


def _attempt(event: RunEvent) -> str:
    return f"{event.worker}: {_task(event)}, attempt {event.attempt}, lease {event.lease}"


def _reason(event: RunEvent) -> str:
    return f": {shortened(event.message)}" if event.message else ""


def _place(event: RunEvent) -> str:
    where = f" on {event.host}" if event.host else ""
    return f"{where}, process {event.process}" if event.process else where


_TEXTS: dict[EventKind, Callable[[RunEvent], str]] = {
    EventKind.RUN_STARTED: lambda e: f"run started{_place(e)}",
    EventKind.PREPARED: lambda e: f"prepared: {seconds_by_activity(e.activities) or 'at once'}",
    EventKind.TASK_ADDED: lambda e: f"added {_task(e)}",
    EventKind.TASK_STARTED: lambda e: f"{_attempt(e)} started{' as a copy' if e.copy else ''}",
    EventKind.TASK_DONE: lambda e: f"{_attempt(e)} done: {seconds_by_activity(e.activities)}".removesuffix(
        ": "
    ),
    EventKind.TASK_FAILED: lambda e: f"{_attempt(e)} failed with {e.outcome}{_reason(e)}",
    EventKind.TASK_LOST: lambda e: f"{_attempt(e)} {'preempted' if e.preempted else 'lost'}{_reason(e)}",
    EventKind.TASK_STUCK: lambda e: f"{_attempt(e)} stuck{_reason(e)}",
    EventKind.TASK_SUPERSEDED: lambda e: f"{_attempt(e)} superseded{_reason(e)}",
    EventKind.TASK_SPLIT: lambda e: f"{_task(e)} split into {' and '.join(e.parts)}{_reason(e)}",
    EventKind.TASK_GIVEN_UP: lambda e: f"{_task(e)} given up with {e.outcome}{_reason(e)}",
    EventKind.WORKER_READY: lambda e: f"{e.worker} is ready{_place(e)}",
    EventKind.WORKER_REPLACED: lambda e: f"{e.worker} is being replaced",
    EventKind.WORKER_START_FAILED: lambda e: f"{e.worker} died before it was ready{_reason(e)}",
    EventKind.DRAINING: lambda e: "no further task is started",
    EventKind.STORE_RETRIED: lambda e: f"request to the object store failed and is repeated{_reason(e)}",
    EventKind.RUN_ENDED: lambda e: f"run ended{_reason(e)}",
}
