"""What a run is doing at the moment, in words, from its activities and events; for the live view."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from phantom_dist.cli.logs import is_quiet
from phantom_dist.core.activity import Activity
from phantom_dist.core.events import EventKind, RunEvent
from phantom_dist.core.result import duration

VERBS = {"probe": "probing", "train": "training"}
MEMBERS = {"probe": "problem", "train": "trial"}

_ENDS = frozenset(
    {
        EventKind.TASK_DONE,
        EventKind.TASK_FAILED,
        EventKind.TASK_LOST,
        EventKind.TASK_STUCK,
        EventKind.TASK_SUPERSEDED,
    }
)


class Announcer:
    """Prints each activity that may take long when it begins, in every command; a watcher (`core.activity`)."""

    def began(self, kind: Activity, what: str, *, long: bool) -> None:
        """Print it on stderr."""
        if long and not is_quiet():
            print(f"phantom-dist: {what} …", file=sys.stderr, flush=True)

    def ended(self, kind: Activity, what: str) -> None:
        """Print nothing."""


class CurrentWork:
    """Follows activities (as a watcher) and events (as a listener), and describes what is going on.

    Args:
        now: a clock (s).
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._activities: list[tuple[str, float]] = []
        self._since = now()
        self._prepared = False
        self._ready: set[str] = set()
        self._running: dict[str, tuple[RunEvent, float]] = {}
        self._probes: dict[str, int] = {}  # size by task
        self._probed: set[str] = set()

    def began(self, kind: Activity, what: str, *, long: bool) -> None:
        """Record that an activity of this process began."""
        self._activities.append((what.partition(",")[0], self._now()))

    def ended(self, kind: Activity, what: str) -> None:
        """Record that the activity that began last ended."""
        self._activities.pop()
        self._since = self._now()

    def on_event(self, event: RunEvent) -> None:
        """Record an event."""
        worker, task = event.worker or "", event.task or ""
        match event.kind:
            case EventKind.PREPARED if Activity.STARTING in event.activities:
                self._prepared, self._since = True, self._now()
            case EventKind.WORKER_READY:
                self._ready.add(worker)
            case EventKind.WORKER_REPLACED:
                self._ready.discard(worker)
            case EventKind.TASK_ADDED if event.task_kind == "probe":
                self._probes[task] = event.size or 0
            case EventKind.TASK_STARTED:
                self._running[worker] = event, self._now()
            case EventKind.TASK_SPLIT:
                self._split(task, event.parts)
        if event.kind in _ENDS:
            self._running.pop(worker, None)
        if event.kind in (EventKind.TASK_DONE, EventKind.TASK_GIVEN_UP) and task in self._probes:
            self._probed.add(task)

    def _split(self, task: str, parts: tuple[str, ...]) -> None:
        size = self._probes.pop(task, 0)
        if size:
            first = size // 2  # as in `ProbeTask.halves`
            self._probes |= dict(zip(parts, (first, size - first), strict=False))

    @property
    def has_workers(self) -> bool:
        """Whether a worker has ever been ready, so that counts of trials are meaningful."""
        return bool(self._ready or self._running)

    def line(self) -> str:
        """One line: what the workers are doing, or else the activity of this process."""
        if self._running:
            return ", ".join([*self._tasks(), *self._waiting()])
        if self._activities:
            what, since = self._activities[-1]
            return f"{what}, {duration(self._now() - since)}"
        if self._prepared and not self._ready:
            return f"waiting for the first worker, {duration(self._now() - self._since)}"
        return ", ".join(self._waiting())

    def workers(self) -> list[str]:
        """A line for each worker that has a task; with the activity, if the worker is in this process."""
        now = self._now()
        lines = []
        for worker, (event, since) in sorted(self._running.items()):
            what = (
                f"{VERBS[event.task_kind or 'train']} {_count(event.size or 0, event.task_kind or 'train')}"
            )
            inner = f" ({self._activities[-1][0]})" if self._activities else ""
            again = f", attempt {event.attempt}" if (event.attempt or 1) > 1 else ""
            copy = ", a copy" if event.copy else ""
            lines.append(f"{worker}: {what} of {event.model}{inner}{again}{copy}, {duration(now - since)}")
        return lines

    def _tasks(self) -> list[str]:
        running = [event for event, _ in self._running.values()]
        lines = []
        for kind, verb in VERBS.items():
            size = sum(event.size or 0 for event in running if event.task_kind == kind)
            if size and kind == "probe":
                total, done = sum(self._probes.values()), sum(self._probes[t] for t in self._probed)
                lines.append(f"{verb} {done} of {total} problems")
            elif size:
                lines.append(f"{verb} {_count(size, kind)}")
        return lines

    def _waiting(self) -> list[str]:
        idle = len(self._ready - set(self._running))
        return [f"{idle} worker{'' if idle == 1 else 's'} waiting"] if idle else []


def _count(size: int, kind: str) -> str:
    return f"{size} {MEMBERS[kind]}{'' if size == 1 else 's'}"
