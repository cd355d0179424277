"""The one loop that executes the ledger's commands over an executor, and records what happens as events."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Protocol

from phantom_dist.scheduling.executor import Executor, Finished
from phantom_dist.scheduling.journal import Journal
from phantom_dist.scheduling.ledger import (
    Added,
    Command,
    Discard,
    Done,
    Drain,
    Event,
    GiveUp,
    Joined,
    Ledger,
    Replace,
    Start,
    Tick,
)
from phantom_dist.scheduling.tasks import Task

HEARTBEAT_S = 1.0


class Grants(Protocol):
    """Who may store results: `traces.leases.Leases`, or a no-op when nothing is persisted."""

    def grant(self, number: int) -> None:
        """Begin a lease."""

    def end(self, number: int) -> None:
        """End a lease; one that is over already is left alone."""


class Owner(Protocol):
    """Whose work is driven. What it returns are the tasks that follow."""

    def on_start(self, command: Start) -> None:
        """A task begins."""

    def on_done(self, finished: Finished) -> Iterable[Task]:
        """A task is done and stored."""

    def on_give_up(self, command: GiveUp) -> Iterable[Task]:
        """A task is set aside."""

    def on_discard(self, task: Task) -> None:
        """Whatever of the task is stored has to go."""

    def on_heartbeat(self) -> bool:
        """Some time has passed, `HEARTBEAT_S` seconds at most; False to start nothing more."""


def drive(
    executor: Executor,
    tasks: Iterable[Task],
    grants: Grants,
    owner: Owner,
    numbers: Iterator[int] | None = None,
    expected_memory: float = 0.0,
) -> bool:
    """Run tasks, and those that follow from their results; True if none is left, False if the owner wanted no more.

    `numbers` are for leases; where a driver calls this twice it goes on with them, so that no lease comes again.
    `expected_memory` is that of the largest worker that is expected to join (bytes).

    Raises:
        InputError, StoreError: as a task raised it.
    """
    ledger, journal = Ledger(numbers, expected_memory), Journal(executor.now)
    pending: deque[Event] = deque([Added(tuple(tasks))])
    held: dict[str, int] = {}  # each worker's lease
    last_tick = executor.now()

    def end_lease(worker: str) -> None:
        if worker in held:
            grants.end(held.pop(worker))

    def handle(event: Event) -> None:
        journal.heard(event)
        for command in ledger.handle(event, executor.now()):
            execute(command)

    def execute(command: Command) -> None:
        journal.ordered(command)
        match command:
            case Start(worker, _, _, lease):
                grants.grant(lease)
                held[worker] = lease
                owner.on_start(command)
                executor.start(command)
            case Replace(worker):
                end_lease(worker)
                executor.replace(worker)
            case Discard(task):
                owner.on_discard(task)
            case GiveUp():
                pending.append(Added(tuple(owner.on_give_up(command))))

    while True:
        while pending:
            handle(pending.popleft())
        if not owner.on_heartbeat():
            handle(Drain())
        if ledger.finished:
            return not ledger.waiting
        if executor.now() - last_tick >= HEARTBEAT_S:
            last_tick = executor.now()
            pending.append(Tick())
        happened = executor.wait(HEARTBEAT_S)
        if isinstance(happened, Joined):
            pending.append(happened)
        elif happened is not None:
            journal.reported(happened)
            end_lease(happened.event.worker)
            pending.append(happened.event)
            if isinstance(happened.event, Done):
                pending.append(Added(tuple(owner.on_done(happened))))
