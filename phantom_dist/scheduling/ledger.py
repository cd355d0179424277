"""Every task's life, as a pure state machine: events in, commands out. No clock, no process, no file.

| event | what it means |
|---|---|
| `Added` | there is more work |
| `Done` | a worker finished and stored its task |
| `Failed` | a worker is alive, its task isn't done: out of memory, or an error |
| `Lost` | a worker died with its task |

| command | what the driver does |
|---|---|
| `Start` | hand a task to an idle worker |
| `Replace` | start a new process for a worker |
| `GiveUp` | record the named outcome for all of a task's members |

A task that runs out of memory, or keeps killing its worker, is run again in halves until the culprit is alone. Tasks
go to a worker that already holds their model, else to one of a model that nobody holds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from phantom_dist.core.outcome import Outcome
from phantom_dist.scheduling.tasks import Task

MAX_ATTEMPTS = 3
"""A task that failed this often for another reason than memory is set aside with its error kept."""


@dataclass(frozen=True, slots=True)
class Added:
    """New tasks."""

    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """The worker finished its task."""

    worker: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker's task raised: `out_of_memory` or `error`, with the text to keep."""

    worker: str
    outcome: Outcome
    message: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The worker's process is gone."""

    worker: str
    message: str


Event = Added | Done | Failed | Lost


@dataclass(frozen=True, slots=True)
class Start:
    """Hand the task to the worker; `attempt` counts from 1."""

    worker: str
    task: Task
    attempt: int


@dataclass(frozen=True, slots=True)
class Replace:
    """Give the worker a new process."""

    worker: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Record the outcome for all members of the task."""

    task: Task
    attempt: int
    outcome: Outcome
    message: str


Command = Start | Replace | GiveUp


@dataclass(frozen=True, slots=True)
class _Waiting:
    task: Task
    attempt: int = 1


class Ledger:
    """Tasks waiting and running, workers idle and busy."""

    def __init__(self, workers: Iterable[str]) -> None:
        self._idle: dict[str, None] = dict.fromkeys(workers)
        self._running: dict[str, _Waiting] = {}
        self._waiting: deque[_Waiting] = deque()
        self._warm: dict[str, str] = {}

    @property
    def finished(self) -> bool:
        """True if nothing waits and nothing runs."""
        return not self._waiting and not self._running

    def handle(self, event: Event) -> list[Command]:
        """Take one event; the commands that follow from it, in order."""
        commands: list[Command] = []
        match event:
            case Added(tasks):
                self._waiting.extend(_Waiting(task) for task in tasks)
            case Done(worker):
                self._release(worker)
            case Failed(worker, outcome, message):
                commands += self._again(self._release(worker), outcome, message)
            case Lost(worker, message):
                held = self._release(worker)
                self._warm.pop(worker, None)
                commands += [Replace(worker), *self._again(held, Outcome.ERROR, message)]
        return [*commands, *self._starts()]

    def _release(self, worker: str) -> _Waiting | None:
        self._idle[worker] = None
        return self._running.pop(worker, None)

    def _again(self, held: _Waiting | None, outcome: Outcome, message: str) -> Iterator[Command]:
        if held is None:
            return
        exhausted = outcome is Outcome.OUT_OF_MEMORY or held.attempt >= MAX_ATTEMPTS
        if not exhausted:
            self._waiting.appendleft(_Waiting(held.task, held.attempt + 1))
        elif held.task.size > 1:
            first, second = held.task.halves()
            self._waiting.extendleft((_Waiting(second), _Waiting(first)))
        else:
            yield GiveUp(held.task, held.attempt, outcome, message)

    def _starts(self) -> Iterator[Command]:
        for worker in list(self._idle):
            chosen = self._choose(worker)
            if chosen is None:
                return
            self._waiting.remove(chosen)
            del self._idle[worker]
            self._running[worker] = chosen
            self._warm[worker] = chosen.task.model
            yield Start(worker, chosen.task, chosen.attempt)

    def _choose(self, worker: str) -> _Waiting | None:
        """The first task of this worker's warm model, else of a model that no other holds, else the first."""
        own = self._warm.get(worker)
        others = {model for name, model in self._warm.items() if name != worker}
        for wanted in (lambda m: m == own, lambda m: m not in others, lambda m: True):
            for waiting in self._waiting:
                if wanted(waiting.task.model):
                    return waiting
        return None
