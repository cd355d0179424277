"""The scheduler as a pure state machine: events (`messages`) and the time in, commands out. No clock, process or file.

**Leases.** Every `Start` has a lease, a number that only grows, and every report names its lease. A report that comes
twice, or from a worker that was replaced, has no effect. The driver ensures that nothing can be stored under a lease
that is over.

**Retries.** A task that runs out of memory, or keeps killing its worker, runs again in halves until the failing member
is alone. A preemption is not the task's fault: up to `FREE_PREEMPTIONS` of them don't count as failures.

**Order.** An idle worker takes a task of the model that it has loaded; else of the model with the most work left for
each worker that has it loaded. Among tasks of one model the longest goes first.

**Memory.** A task that needs more memory than a worker has waits for a larger worker, as long as one is present or was
within `MISSING_S`. After that the largest worker present tries it, because predictions of memory are rough.

**Copies.** A task that runs much longer than predicted is started once more on another worker, and the first to finish
counts. Where predictions have been reliable, the copy starts at once. Otherwise it starts as late as possible: once
the waiting tasks take no longer than the copy, which would end last if it waited any longer.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from phantom_dist.core.outcome import Outcome
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
    Tick,
)
from phantom_dist.scheduling.pace import Pace
from phantom_dist.scheduling.task_queue import Entry, Needs, TaskQueue
from phantom_dist.scheduling.worker_memory import WorkerMemory

MAX_ATTEMPTS = 3
"""A task that failed this often, for another reason than memory, is split, or given up if it has one member."""

FREE_PREEMPTIONS = 8
"""A task whose machine was taken away this often may itself be the cause: each further preemption is a failure."""

SLOW = 1.5
"""A running task is late if its time so far exceeds its predicted time by this multiple of `Pace.most`."""

RELIABLE = 2.0
"""Predictions are reliable if `Pace.most` is at most this multiple of `Pace.usual`."""

STUCK = 20.0
"""A task that runs this many times longer than expected is stuck: its process is ended, which counts as a failure."""

STUCK_AT_LEAST_S = 3600.0
"""No task is stuck before this time (s): a model may have to be downloaded first."""

SLOW_AT_LEAST_S = 10.0
"""No task is late before this time (s): a copy may have to load its model first."""


@dataclass(frozen=True, slots=True)
class _Lease:
    number: int
    entry: Entry
    since: float


class Ledger:
    """Waiting and running tasks, idle and busy workers.

    Args:
        numbers: increasing numbers for leases.
        expected_memory: memory of the largest worker that is expected to join (bytes).
    """

    def __init__(self, numbers: Iterator[int] | None = None, expected_memory: float = 0.0) -> None:
        self._idle: dict[str, None] = {}
        self._leases: dict[str, _Lease] = {}
        self._queues: dict[Needs, TaskQueue] = {}
        self._memory = WorkerMemory(expected_memory)
        self._warm: dict[str, str] = {}  # the model that each worker has loaded
        self._holders: Counter[str] = Counter()  # how many workers have each model loaded
        self._numbers = itertools.count(1) if numbers is None else numbers
        self._pace = Pace()
        self._longest = 0.0  # longest predicted time of a task that ever ran (s)
        self._late: list[Entry] = []  # running tasks that should be copied
        self._draining = False

    @property
    def finished(self) -> bool:
        """True if nothing runs, and nothing waits or may start."""
        return not self._leases and (self._draining or not self.waiting)

    @property
    def waiting(self) -> bool:
        """True if a task waits for a worker."""
        return bool(self._queues)

    def handle(self, event: Event, now: float) -> list[Command]:
        """Handle one event: the commands that follow, in order. `now`: seconds since any origin, never decreasing."""
        commands: list[Command] = []
        self._memory.forget_missing(now)
        match event:
            case Added(tasks):
                for task in tasks:
                    self._wait(Entry(task))
            case Done(worker, number):
                commands += self._done(self._end(worker, number), now)
            case Failed(worker, number, outcome, message):
                commands += self._again(self._end(worker, number), outcome, message)
            case Lost(worker, number, message, preempted, outcome):
                lease = self._end(worker, number)
                if lease is not None:
                    self._away(worker, now)
                    commands += [Replace(worker), *self._after_loss(lease, message, preempted, outcome)]
            case Joined(worker, memory):
                self._memory.joined(worker, memory)
                if worker not in self._leases:
                    self._idle[worker] = None
            case Drain():
                self._draining = True
            case Tick():
                commands += self._end_stuck(now)
                self._late = self._find_late(now)
        return [*commands, *self._starts(now)]

    # -- ends of leases ------------------------------------------------------------------------------------------------

    def _end(self, worker: str, number: int) -> _Lease | None:
        """End the lease that a report names; None if it is over already."""
        lease = self._leases.get(worker)
        if lease is None or lease.number != number:
            return None
        del self._leases[worker]
        lease.entry.holders.remove(worker)
        self._idle[worker] = None
        return lease

    def _done(self, lease: _Lease | None, now: float) -> Iterator[Command]:
        if lease is None:
            return
        self._pace.learn(lease.entry.task.seconds, now - lease.since)
        for worker in list(lease.entry.holders):
            yield self._stop(worker, now)

    def _stop(self, worker: str, now: float) -> Replace:
        """End a worker's running task by replacing its process."""
        self._end(worker, self._leases[worker].number)
        self._away(worker, now)
        return Replace(worker)

    def _away(self, worker: str, now: float) -> None:
        """The worker's process is gone, and its loaded model with it."""
        self._cool(worker)
        self._memory.left(worker, now)
        del self._idle[worker]

    def _end_stuck(self, now: float) -> Iterator[Command]:
        ratio = self._pace.usual or 1.0
        # Leases are in the order in which they began, so the oldest come first.
        long_running = itertools.takewhile(
            lambda item: now - item[1].since > STUCK_AT_LEAST_S, self._leases.items()
        )
        for worker, lease in list(long_running):
            seconds, taken = lease.entry.task.seconds, now - lease.since
            if seconds > 0 and taken > STUCK * ratio * seconds:
                yield self._stop(worker, now)
                message = f"stuck: no end after {taken:.0f} s, expected after {ratio * seconds:.0f} s"
                yield from self._again(lease, Outcome.ERROR, message)

    def _after_loss(
        self, lease: _Lease, message: str, preempted: bool, outcome: Outcome
    ) -> Iterator[Command]:
        lease.entry.preemptions += preempted
        if not preempted or lease.entry.preemptions > FREE_PREEMPTIONS:
            yield from self._again(lease, outcome, message)
        elif not lease.entry.holders:
            self._wait(lease.entry, again=True)

    def _again(self, lease: _Lease | None, outcome: Outcome, message: str) -> Iterator[Command]:
        if lease is None:
            return
        entry = lease.entry
        entry.failures += 1
        if entry.holders:
            return  # a copy still runs
        exhausted = outcome is Outcome.OUT_OF_MEMORY or entry.failures >= MAX_ATTEMPTS
        if not exhausted:
            self._wait(entry, again=True)
        elif entry.task.size > 1:
            yield Discard(entry.task)
            for half in entry.task.halves():
                self._wait(Entry(half), again=True)
        else:
            yield Discard(entry.task)
            yield GiveUp(entry.task, entry.failures, outcome, message)

    # -- starts of leases ----------------------------------------------------------------------------------------------

    def _wait(self, entry: Entry, *, again: bool = False) -> None:
        needs = (entry.task.model, entry.task.memory_bytes)
        self._queues.setdefault(needs, TaskQueue()).push(entry, next(self._numbers), again)

    def _starts(self, now: float) -> Iterator[Command]:
        if self._draining or not (self._late or self._queues):
            return
        for worker in tuple(self._idle):
            entry = self._next_for(worker)
            if entry is not None:
                yield self._lease(worker, entry, now)
            if not (self._late or self._queues):
                return

    def _next_for(self, worker: str) -> Entry | None:
        """The worker's next task: a copy of a late one, else a waiting one; None if nothing fits its memory."""
        reach = self._memory.reach(worker)
        self._late = [entry for entry in self._late if _may_be_copied(entry)]
        if self._late and self._late[-1].task.memory_bytes <= reach:
            return self._late.pop()
        needs = self._choose(worker, reach)
        if needs is None:
            return None
        entry = self._queues[needs].pop()
        if not self._queues[needs]:
            del self._queues[needs]
        return entry

    def _lease(self, worker: str, entry: Entry, now: float) -> Start:
        del self._idle[worker]
        if self._warm.get(worker) != entry.task.model:
            self._cool(worker)
            self._warm[worker] = entry.task.model
            self._holders[entry.task.model] += 1
        entry.holders.append(worker)
        self._longest = max(self._longest, entry.task.seconds)
        lease = _Lease(next(self._numbers), entry, now)
        self._leases[worker] = lease
        return Start(worker, entry.task, entry.failures + 1, lease.number)

    def _cool(self, worker: str) -> None:
        """The worker no longer has a model loaded."""
        model = self._warm.pop(worker, None)
        if model is not None:
            self._holders[model] -= 1

    def _choose(self, worker: str, reach: float) -> Needs | None:
        """The queue from which the worker takes its next task; None if nothing fits its memory.

        Among tasks that fit, those that need the most memory come first: smaller workers can't take them. Among those,
        the worker prefers the model that it has loaded, then a model that no worker has loaded, then the model with
        the most work left for each worker that has it loaded.
        """
        needed = max((memory for _, memory in self._queues if memory <= reach), default=None)
        if needed is None:
            return None
        own = self._warm.get(worker)
        if own is not None and (own, needed) in self._queues:
            return own, needed

        def urgency(needs: Needs) -> tuple[bool, float]:
            holders = self._holders[needs[0]]
            return holders == 0, self._queues[needs].seconds / (1 + holders)

        # Among equals `max` takes the first queue.
        return max((needs for needs in self._queues if needs[1] == needed), key=urgency)

    def _find_late(self, now: float) -> list[Entry]:
        """Late tasks that are worth a copy, the latest last; empty while there is no second worker.

        Where predictions are not reliable, a task must also be longer than the waiting tasks will take on all workers.
        """
        workers = len(self._leases) + len(self._idle)
        usual, most = self._pace.usual, self._pace.most
        if usual is None or most is None or workers < 2:
            return []
        drained = 0.0
        if most > RELIABLE * usual:
            drained = sum(queue.seconds for queue in self._queues.values()) / workers
            if drained > self._longest:
                return []
        late = []
        for lease in self._leases.values():
            seconds = lease.entry.task.seconds
            behind = now - lease.since - max(SLOW_AT_LEAST_S, SLOW * most * seconds)
            if behind > 0 and seconds >= drained and _may_be_copied(lease.entry):
                late.append((behind, lease.number, lease.entry))
        return [entry for *_, entry in sorted(late)]


def _may_be_copied(entry: Entry) -> bool:
    """True if it runs on one worker only and has an attempt left."""
    return len(entry.holders) == 1 and entry.failures + 1 < MAX_ATTEMPTS
