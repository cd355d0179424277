"""The one loop that executes the ledger's commands over an executor."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from phantom_dist.scheduling.executor import Executor, Finished
from phantom_dist.scheduling.ledger import Added, Done, Event, GiveUp, Ledger, Replace, Start
from phantom_dist.scheduling.tasks import Task

HEARTBEAT_S = 1.0


def drive(
    executor: Executor,
    tasks: Iterable[Task],
    *,
    on_done: Callable[[Finished], Iterable[Task]],
    on_give_up: Callable[[GiveUp], Iterable[Task]],
    on_heartbeat: Callable[[], None],
) -> None:
    """Run tasks, and those that follow from their results, until none is left.

    Args:
        executor: where tasks run.
        tasks: the first ones.
        on_done: told of each finished task; returns the tasks that follow from it.
        on_give_up: told of each task that is set aside; likewise.
        on_heartbeat: called at least every `HEARTBEAT_S` seconds while an executor waits in the background.

    Raises:
        InputError, StoreError: as a task raised it.
    """
    ledger = Ledger(executor.workers)
    pending: list[Event] = [Added(tuple(tasks))]
    while True:
        while pending:
            for command in ledger.handle(pending.pop(0)):
                match command:
                    case Start(worker, task, attempt):
                        executor.start(worker, task, attempt)
                    case Replace(worker):
                        executor.replace(worker)
                    case GiveUp():
                        pending.append(Added(tuple(on_give_up(command))))
        on_heartbeat()
        if ledger.finished:
            return
        finished = executor.wait(HEARTBEAT_S)
        if finished is None:
            continue
        pending.append(finished.event)
        if isinstance(finished.event, Done):
            pending.append(Added(tuple(on_done(finished))))
