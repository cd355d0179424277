"""The loop that executes the ledger's commands on an executor and records every step as an event."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Protocol

from phantom_dist.scheduling.executor import Executor, Finished
from phantom_dist.scheduling.journal import Journal
from phantom_dist.scheduling.ledger import Ledger
from phantom_dist.scheduling.messages import (
    Added,
    Command,
    Discard,
    Done,
    Drain,
    Event,
    GiveUp,
    Joined,
    Replace,
    Start,
    Tick,
)
from phantom_dist.scheduling.tasks import Task

HEARTBEAT_S = 1.0


class Grants(Protocol):
    """Leases under which workers may store results: `traces.leases.Leases`, or a no-op if nothing is persisted."""

    def grant(self, number: int) -> None:
        """Begin a lease."""

    def end(self, number: int) -> None:
        """End a lease; no effect on one that is over already."""


class Owner(Protocol):
    """Handles the results of tasks, and returns the tasks that follow from them."""

    def on_start(self, command: Start) -> None:
        """A task starts."""

    def on_done(self, finished: Finished) -> Iterable[Task]:
        """A task is done, and its results are stored."""

    def on_give_up(self, command: GiveUp) -> Iterable[Task]:
        """A task is given up."""

    def on_discard(self, task: Task) -> None:
        """Remove whatever the task has stored."""

    def on_heartbeat(self) -> bool:
        """Called at least every `HEARTBEAT_S` seconds; False to start no further task."""


def drive(
    executor: Executor,
    tasks: Iterable[Task],
    grants: Grants,
    owner: Owner,
    numbers: Iterator[int] | None = None,
    expected_memory: float = 0.0,
) -> bool:
    """Run tasks, and those that follow from their results, until none is left or the owner wants no more.

    Args:
        executor: runs the tasks.
        tasks: the first tasks.
        grants: begins and ends the workers' leases.
        owner: handles results.
        numbers: numbers of leases; a caller that drives twice passes the same iterator, so that no number repeats.
        expected_memory: memory of the largest worker that is expected to join (bytes).

    Returns:
        True if no task is left, False if the owner stopped the loop while tasks still waited.

    Raises:
        InputError, StoreError: as a task raised it.
    """
    ledger, journal = Ledger(numbers, expected_memory), Journal(executor.now)
    pending: deque[Event] = deque([Added(tuple(tasks))])
    leases: dict[str, int] = {}  # of each worker
    last_tick = executor.now()

    def end_lease(worker: str) -> None:
        if worker in leases:
            grants.end(leases.pop(worker))

    def handle(event: Event) -> None:
        journal.before_event(event)
        for command in ledger.handle(event, executor.now()):
            execute(command)

    def execute(command: Command) -> None:
        journal.before_command(command)
        match command:
            case Start(worker, _, _, lease):
                grants.grant(lease)
                leases[worker] = lease
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
            journal.task_ended(happened)
            end_lease(happened.event.worker)
            pending.append(happened.event)
            if isinstance(happened.event, Done):
                pending.append(Added(tuple(owner.on_done(happened))))
