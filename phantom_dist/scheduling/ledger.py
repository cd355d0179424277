"""Every task's life, as a pure state machine: events and the time in, commands out. No clock, no process, no file.

| event | what it means |
|---|---|
| `Added` | there is more work |
| `Done` | a worker finished and stored its task |
| `Failed` | a worker is alive, its task isn't done: out of memory, or an error |
| `Lost` | a worker died with its task, or its machine was taken away (`preempted`) |
| `Joined` | a worker is ready, for the first time or after its `Replace` |
| `Tick` | time has passed |
| `Drain` | nothing more is to be started |

| command | what the driver does |
|---|---|
| `Start` | hand a task to an idle worker, under a lease |
| `Replace` | end a worker's process if it still runs, and start another; it is away until it joins again |
| `Discard` | remove what a task may have stored: its members are going to be stored by others |
| `GiveUp` | record the named outcome for all of a task's members |

Every `Start` has a lease, a number that only grows, and every report names the lease that it is about: what comes
twice, or from a worker that had been given up, changes nothing. The driver sees to it that nothing can be stored
under a lease that is over.

A task that runs out of memory, or keeps killing its worker, is run again in halves until the culprit is alone. A
preemption is nobody's fault and isn't counted, up to `FREE_PREEMPTIONS`. The longest task goes first, to a worker that
already holds its model, else where a model has most work left for each worker that holds it.

A task that needs more memory than a worker has waits for a larger one: for as long as one is there or has been within
`MISSING_S`. After that the largest that is there tries, for what is predicted is rough.

A task that runs longer than its like ever does is started once more on another worker, and the first to finish counts:
at once where predictions have held so far, for then it saves work; else as late as can be, namely when a copy that
waited until nothing else waits would be the last to end.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from phantom_dist.core.outcome import Outcome
from phantom_dist.scheduling.place import Place
from phantom_dist.scheduling.tasks import Task

MAX_ATTEMPTS = 3
"""A task that failed this often for another reason than memory is set aside with its error kept."""

FREE_PREEMPTIONS = 8
"""A task whose machine was taken away this often may be what ends machines: from then on each time is a failure."""

SLOW = 1.5
"""A task that runs so many times longer than nearly all others did, beside what was predicted, is late."""

RELIABLE = 2.0
"""Predictions hold where nearly all tasks take at most so many times as long as the usual one, for their prediction."""

STUCK = 20.0
"""A task that runs so many times longer than expected is taken for stuck: its process is ended, as after a failure."""

STUCK_AT_LEAST_S = 3600.0
"""And never sooner than this: a model may have to be downloaded first."""

MISSING_S = 900.0
"""A worker that is away for so long won't come back: a cloud takes minutes to give another machine."""

SLOW_AT_LEAST_S = 10.0
"""And never sooner than this: a copy may have to load its model first."""


@dataclass(frozen=True, slots=True)
class Added:
    """New tasks."""

    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """The worker finished the task of that lease."""

    worker: str
    lease: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The task of that lease raised: `out_of_memory` or `error`, with the text to keep."""

    worker: str
    lease: int
    outcome: Outcome
    message: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The process that had the lease is gone; `preempted`: its machine was taken away; `outcome`: why, if known."""

    worker: str
    lease: int
    message: str
    preempted: bool = False
    outcome: Outcome = Outcome.ERROR


@dataclass(frozen=True, slots=True)
class Joined:
    """The worker is ready for a task; `memory_bytes`: what it may plan with; `place`: where it runs, for the record."""

    worker: str
    memory_bytes: float = math.inf
    place: Place | None = field(default=None, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Tick:
    """Nothing happened but time."""


@dataclass(frozen=True, slots=True)
class Drain:
    """No further task is started, whatever waits; those that run may end."""


Event = Added | Done | Failed | Lost | Joined | Tick | Drain


@dataclass(frozen=True, slots=True)
class Start:
    """Hand the task to the worker under this lease; `attempt` counts from 1."""

    worker: str
    task: Task
    attempt: int
    lease: int


@dataclass(frozen=True, slots=True)
class Replace:
    """End the worker's process if it still runs, and start a new one; its report is not wanted any more."""

    worker: str


@dataclass(frozen=True, slots=True)
class Discard:
    """Remove the task's files if it has any: a worker that died may have stored them without a word."""

    task: Task


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Record the outcome for all members of the task."""

    task: Task
    attempt: int
    outcome: Outcome
    message: str


Command = Start | Replace | Discard | GiveUp


@dataclass(slots=True, eq=False)
class _Entry:
    """A task that isn't over: waiting, or running under its leases (several, where it is copied)."""

    task: Task
    failures: int = 0
    preemptions: int = 0
    holders: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Lease:
    number: int
    entry: _Entry
    since: float


class Ledger:
    """Tasks waiting and running, workers idle and busy.

    Args:
        numbers: for leases; they only grow.
        expected_memory: of the largest worker that is expected to join (bytes).
    """

    def __init__(self, numbers: Iterator[int] | None = None, expected_memory: float = 0.0) -> None:
        self._idle: dict[str, None] = {}
        self._leases: dict[str, _Lease] = {}
        self._queues: dict[_Needs, _Queue] = {}
        self._memory = _Memory(expected_memory)
        self._warm: dict[str, str] = {}
        self._holders: Counter[str] = Counter()  # of each model
        self._numbers = itertools.count(1) if numbers is None else numbers
        self._pace = _Pace()
        self._longest = 0.0  # of the predicted times of all tasks that ever ran
        self._late: list[_Entry] = []  # running tasks that should be copied
        self._draining = False

    @property
    def finished(self) -> bool:
        """True if nothing runs, and nothing waits or may be started."""
        return not self._leases and (self._draining or not self.waiting)

    @property
    def waiting(self) -> bool:
        """True if a task waits for a worker."""
        return bool(self._queues)

    def handle(self, event: Event, now: float) -> list[Command]:
        """Take one event; the commands that follow from it, in order. `now`: seconds from any origin, never less."""
        commands: list[Command] = []
        self._memory.forget_missing(now)
        match event:
            case Added(tasks):
                for task in tasks:
                    self._wait(_Entry(task))
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
        """The lease that a report is about; None where it is void already."""
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
        """End a lease that the worker still has."""
        self._end(worker, self._leases[worker].number)
        self._away(worker, now)
        return Replace(worker)

    def _away(self, worker: str, now: float) -> None:
        """The worker's process is gone, and its model with it."""
        self._cool(worker)
        self._memory.left(worker, now)
        del self._idle[worker]

    def _end_stuck(self, now: float) -> Iterator[Command]:
        ratio = self._pace.usual or 1.0
        # Leases stand in the order in which they began, so the old ones come first.
        old = itertools.takewhile(lambda held: now - held[1].since > STUCK_AT_LEAST_S, self._leases.items())
        for worker, lease in list(old):
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
            return  # a copy is at work still
        exhausted = outcome is Outcome.OUT_OF_MEMORY or entry.failures >= MAX_ATTEMPTS
        if not exhausted:
            self._wait(entry, again=True)
        elif entry.task.size > 1:
            yield Discard(entry.task)
            for half in entry.task.halves():
                self._wait(_Entry(half), again=True)
        else:
            yield Discard(entry.task)
            yield GiveUp(entry.task, entry.failures, outcome, message)

    # -- starts of leases ----------------------------------------------------------------------------------------------

    def _wait(self, entry: _Entry, *, again: bool = False) -> None:
        needs = (entry.task.model, entry.task.memory_bytes)
        self._queues.setdefault(needs, _Queue()).push(entry, next(self._numbers), again)

    def _starts(self, now: float) -> Iterator[Command]:
        if self._draining or not (self._late or self._queues):
            return
        for worker in tuple(self._idle):
            entry = self._next_for(worker)
            if entry is not None:
                yield self._lease(worker, entry, now)
            if not (self._late or self._queues):
                return

    def _next_for(self, worker: str) -> _Entry | None:
        """What the worker takes: a late task's copy, else what waits; None where nothing is small enough for it."""
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

    def _lease(self, worker: str, entry: _Entry, now: float) -> Start:
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
        """The worker holds no model any more."""
        model = self._warm.pop(worker, None)
        if model is not None:
            self._holders[model] -= 1

    def _choose(self, worker: str, reach: float) -> _Needs | None:
        """Of what the worker has the memory for, what needs most of it comes first: smaller workers can't take that.

        Of equal needs its warm model; else a model that nobody holds; else the one with most work left for each holder.
        """
        needed = max((memory for _, memory in self._queues if memory <= reach), default=None)
        if needed is None:
            return None
        own = self._warm.get(worker)
        if own is not None and (own, needed) in self._queues:
            return own, needed

        def urgency(needs: _Needs) -> tuple[bool, float]:
            holders = self._holders[needs[0]]
            return holders == 0, self._queues[needs].seconds / (1 + holders)

        return max(
            (needs for needs in self._queues if needs[1] == needed), key=urgency
        )  # of equals the first

    def _find_late(self, now: float) -> list[_Entry]:
        """Tasks that are late and long enough to matter, the latest last; none while nobody else could take them."""
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


def _may_be_copied(entry: _Entry) -> bool:
    """It still runs, nobody stands in for it, and it has an attempt left."""
    return len(entry.holders) == 1 and entry.failures + 1 < MAX_ATTEMPTS


_Needs = tuple[str, float]
"""A task's model, and the memory of the workers that may take it (bytes)."""


class _Memory:
    """How much memory each worker has, of those that are there and those that may come back."""

    def __init__(self, expected: float) -> None:
        self._of: dict[str, float] = {"": expected} if expected else {}
        self._away_since: dict[str, float] = {}
        self._largest = expected

    def joined(self, worker: str, memory: float) -> None:
        before, self._of[worker] = self._of.get(worker, 0.0), memory
        self._away_since.pop(worker, None)
        shrunk = memory < before == self._largest
        self._largest = max(self._of.values()) if shrunk else max(self._largest, memory)

    def left(self, worker: str, now: float) -> None:
        self._away_since[worker] = now

    def forget_missing(self, now: float) -> None:
        if "" in self._of:
            self._away_since.setdefault("", now)  # expected from the first event on
        missing = [worker for worker, since in self._away_since.items() if now - since > MISSING_S]
        for worker in missing:
            del self._away_since[worker], self._of[worker]
        if missing:
            self._largest = max(self._of.values(), default=0.0)

    def reach(self, worker: str) -> float:
        """The largest need (bytes) that the worker may take."""
        memory = self._of[worker]
        return math.inf if memory >= self._largest else memory


class _Queue:
    """Waiting tasks of equal needs: those that ran before first, then the longest, then the oldest."""

    def __init__(self) -> None:
        self._heap: list[tuple[bool, float, int, _Entry]] = []
        self.seconds = 0.0

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, entry: _Entry, number: int, again: bool) -> None:
        self.seconds += entry.task.seconds
        heapq.heappush(self._heap, (not again, -entry.task.seconds, number, entry))

    def pop(self) -> _Entry:
        entry = heapq.heappop(self._heap)[-1]
        self.seconds -= entry.task.seconds
        return entry


class _Pace:
    """How long tasks take for each predicted second, from the latest of them; None before anything is known."""

    _LATEST = 256
    _NEARLY_ALL = 0.95

    def __init__(self) -> None:
        self._ratios: deque[float] = deque(maxlen=self._LATEST)

    def learn(self, predicted: float, taken: float) -> None:
        if predicted > 0:
            self._ratios.append(taken / predicted)

    @property
    def usual(self) -> float | None:
        """The median."""
        return self._quantile(0.5)

    @property
    def most(self) -> float | None:
        """What nearly all of them stay below; twice the median while only few are known."""
        usual, few = self.usual, len(self._ratios) < 1 / (1 - self._NEARLY_ALL)
        return 2 * usual if usual is not None and few else self._quantile(self._NEARLY_ALL)

    def _quantile(self, share: float) -> float | None:
        ranked = sorted(self._ratios)
        return ranked[int(share * (len(ranked) - 1))] if ranked else None
