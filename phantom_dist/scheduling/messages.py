"""The ledger's events and commands.

| event | what it means |
|---|---|
| `Added` | new tasks wait |
| `Done` | a worker finished and stored its task |
| `Failed` | a task ran out of memory or raised an error; its worker is alive |
| `Lost` | a worker died during its task, or its machine was taken away (`preempted`) |
| `Joined` | a worker is ready, for the first time or after its `Replace` |
| `Tick` | time has passed |
| `Drain` | no further task may start |

| command | what the driver does |
|---|---|
| `Start` | give a task to an idle worker, under a lease |
| `Replace` | end a worker's process if it still runs, and start another; the worker is away until it joins again |
| `Discard` | remove the files that a task may have stored, because other tasks will store its members |
| `GiveUp` | record the named outcome for all of a task's members |
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from phantom_dist.core.outcome import Outcome
from phantom_dist.scheduling.place import Place
from phantom_dist.scheduling.tasks import Task


@dataclass(frozen=True, slots=True)
class Added:
    """New tasks."""

    tasks: tuple[Task, ...]


@dataclass(frozen=True, slots=True)
class Done:
    """The worker finished and stored the task of this lease."""

    worker: str
    lease: int


@dataclass(frozen=True, slots=True)
class Failed:
    """The task of this lease failed. `outcome`: `out_of_memory` or `error`; `message`: the error's text."""

    worker: str
    lease: int
    outcome: Outcome
    message: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The process that held the lease is gone.

    `preempted`: its machine was taken away; `outcome`: the cause if it is known, else `error`.
    """

    worker: str
    lease: int
    message: str
    preempted: bool = False
    outcome: Outcome = Outcome.ERROR


@dataclass(frozen=True, slots=True)
class Joined:
    """The worker is ready for a task.

    `memory_bytes`: memory that it may use; `place`: where it runs, for the event log only.
    """

    worker: str
    memory_bytes: float = math.inf
    place: Place | None = field(default=None, compare=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed; nothing else happened."""


@dataclass(frozen=True, slots=True)
class Drain:
    """No further task may start; running tasks may finish."""


Event = Added | Done | Failed | Lost | Joined | Tick | Drain


@dataclass(frozen=True, slots=True)
class Start:
    """Give the task to the worker under this lease; `attempt` counts from 1."""

    worker: str
    task: Task
    attempt: int
    lease: int


@dataclass(frozen=True, slots=True)
class Replace:
    """End the worker's process if it still runs, and start a new one. Its report is ignored from now on."""

    worker: str


@dataclass(frozen=True, slots=True)
class Discard:
    """Remove the task's files if there are any: a worker that died may have written results without reporting them."""

    task: Task


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Record this outcome for all members of the task; `attempt` counts its failures."""

    task: Task
    attempt: int
    outcome: Outcome
    message: str


Command = Start | Replace | Discard | GiveUp
