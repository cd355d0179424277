"""Reads a run's timeline from its events (`core.events`); a pure function."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from phantom_dist.core.events import EventKind, RunEvent
from phantom_dist.scheduling.timeline import (
    LOST,
    MEASURED,
    OVERHEAD,
    REPLACING,
    SHARES,
    WAITING,
    Attempt,
    DriverStart,
    End,
    Incident,
    Timeline,
    Worker,
)


def timeline(events: Sequence[RunEvent], *, until: float | None = None) -> Timeline | None:
    """The timeline of a run's events; None if there are none.

    Args:
        events: of all starts, in order.
        until: for a live run, the last time at which its driver was known to be alive (s since 1970). Without it a
            start without `run_ended` counts as dead since its last event.
    """
    blocks = list(_blocks(events))
    if not blocks:
        return None
    starts = [_Start(number, block) for number, block in enumerate(blocks, start=1)]
    for start in starts[:-1]:
        start.finish(None)
    starts[-1].finish(until)
    return Timeline(
        starts=tuple(start.driver() for start in starts),
        attempts=tuple(sorted((a for s in starts for a in s.attempts), key=lambda a: (a.start, a.lease))),
        workers=tuple(worker for start in starts for worker in start.workers()),
        incidents=tuple(incident for start in starts for incident in start.incidents),
    )


def _blocks(events: Iterable[RunEvent]) -> Iterator[list[RunEvent]]:
    """The events of each start of the driver."""
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
        self._ready: dict[str, list[RunEvent]] = {}  # events of each worker, one for each of its processes
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
        """Close the start after its last event: open attempts are running if the driver is alive, else cut off."""
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
        """All workers that were ever ready."""
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
    """A worker's seconds by `SHARES`; the remainder is waiting."""
    shares = dict.fromkeys(SHARES, 0.0)
    for attempt in attempts:
        if attempt.end is End.DONE:
            measured = {kind.value: attempt.activities.get(kind.value, 0.0) for kind in MEASURED}
            for name, value in measured.items():
                shares[name] += value
            shares[OVERHEAD] += attempt.seconds - sum(measured.values())
        elif attempt.end is End.RUNNING:  # not reported yet; the task's main activity takes most of it
            shares["probing" if attempt.task_kind == "probe" else "training"] += attempt.seconds
        else:
            shares[LOST] += attempt.seconds
    shares[REPLACING] = sum(end - since for since, end in away)
    shares[WAITING] = seconds - sum(shares.values())
    return shares
