"""Records what the driver's loop does as events (`core.events`).

The ledger's own messages are small: a report names only a lease, a `Replace` only a worker. The journal knows the task
of each lease. It also derives what follows from the order of messages: whether a start is a copy, and why a worker is
replaced.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from phantom_dist.core.events import EventKind, RunEvent, record
from phantom_dist.scheduling.executor import Finished
from phantom_dist.scheduling.messages import (
    Added,
    Command,
    Discard,
    Done,
    Drain,
    Event,
    Failed,
    GiveUp,
    Joined,
    Lost,
    Replace,
    Start,
)
from phantom_dist.scheduling.place import Place
from phantom_dist.scheduling.tasks import ProbeTask, Task


class Journal:
    """Records events with the executor's monotonic clock, so that changes of the system's clock have no effect.

    Args:
        now: the executor's clock (s).
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._offset = time.time() - now()
        self._running: dict[str, tuple[Start, float]] = {}  # by worker: what it runs, and since when
        self._draining = False
        self._done: str | None = None  # the worker whose `Done` is being handled; None during other events

    def before_event(self, event: Event) -> None:
        """Record an event that the ledger is about to handle; the end of a task is recorded by `task_ended` before."""
        self._done = event.worker if isinstance(event, Done) else None
        match event:
            case Added(tasks):
                for task in tasks:
                    self._record(EventKind.TASK_ADDED, **_of(task), predicted_s=task.seconds or None)
            case Joined(worker, place=None):
                self._record(EventKind.WORKER_READY, worker=worker)
            case Joined(worker, place=Place(host=host, process=process, node=node)):
                self._record(
                    EventKind.WORKER_READY, worker=worker, host=host, process=process, node=node or None
                )
            case Drain() if not self._draining:
                self._draining = True
                self._record(EventKind.DRAINING)

    def task_ended(self, finished: Finished) -> None:
        """Record the end of a task; like the ledger, ignore a report for a lease that is over."""
        event = finished.event
        started, _ = self._running.get(event.worker, (None, 0.0))
        if started is None or started.lease != event.lease:
            return
        del self._running[event.worker]
        attempt = _attempt(started)
        match event:
            case Done():
                self._record(EventKind.TASK_DONE, **attempt, activities=finished.output.activities)
            case Failed(_, _, outcome, message):
                self._record(EventKind.TASK_FAILED, **attempt, outcome=outcome.value, message=message)
            case Lost(_, _, message, preempted, outcome):
                self._record(
                    EventKind.TASK_LOST,
                    **attempt,
                    outcome=outcome.value,
                    message=message,
                    preempted=preempted,
                )

    def before_command(self, command: Command) -> None:
        """Record a command that the driver is about to execute."""
        match command:
            case Start(worker, task):
                copy = any(other.task.id == task.id for other, _ in self._running.values())
                self._running[worker] = command, self._now()
                self._record(
                    EventKind.TASK_STARTED, **_attempt(command), copy=copy, predicted_s=task.seconds or None
                )
            case Replace(worker):
                if worker in self._running:
                    self._stopped(worker)
                self._record(EventKind.WORKER_REPLACED, worker=worker)
            case Discard(task) if task.size > 1:  # a task of one member is given up next
                parts = tuple(str(half.id) for half in task.halves())
                self._record(EventKind.TASK_SPLIT, **_of(task), parts=parts)
            case GiveUp(task, attempt, outcome, message):
                self._record(
                    EventKind.TASK_GIVEN_UP,
                    **_of(task),
                    attempt=attempt,
                    outcome=outcome.value,
                    message=message,
                )

    def _stopped(self, worker: str) -> None:
        """The ledger replaces a busy worker for two reasons only; the event that it handles tells which."""
        started, since = self._running.pop(worker)
        if self._done is not None:
            kind, why = EventKind.TASK_SUPERSEDED, f"{self._done} finished the same task first"
        else:
            taken, predicted = self._now() - since, started.task.seconds
            kind, why = (
                EventKind.TASK_STUCK,
                f"still running after {taken:.0f} s, predicted: {predicted:.0f} s",
            )
        self._record(kind, **_attempt(started), message=why)

    def _record(self, kind: EventKind, **fields: Any) -> None:
        record(RunEvent(time=self._offset + self._now(), kind=kind, **fields))


def _of(task: Task) -> dict[str, Any]:
    kind = "probe" if isinstance(task, ProbeTask) else "train"
    return {"task": str(task.id), "task_kind": kind, "model": task.model, "size": task.size}


def _attempt(started: Start) -> dict[str, Any]:
    return {
        **_of(started.task),
        "worker": started.worker,
        "lease": started.lease,
        "attempt": started.attempt,
    }
