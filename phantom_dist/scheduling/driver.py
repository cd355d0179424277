"""The one loop that executes the ledger's commands over an executor."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from phantom_dist.scheduling.executor import Executor, Finished
from phantom_dist.scheduling.ledger import Added, Done, Event, GiveUp, Ledger, Replace, Start, Stop, Tick
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
    pending: deque[Event] = deque([Added(tuple(tasks))])
    last_tick = executor.now()
    while True:
        while pending:
            for command in ledger.handle(pending.popleft(), executor.now()):
                match command:
                    case Start():
                        executor.start(command)
                    case Stop(worker) | Replace(worker):
                        executor.replace(worker)
                    case GiveUp():
                        pending.append(Added(tuple(on_give_up(command))))
        on_heartbeat()
        if ledger.finished:
            return
        if executor.now() - last_tick >= HEARTBEAT_S:
            last_tick = executor.now()
            pending.append(Tick())
        finished = executor.wait(HEARTBEAT_S)
        if finished is not None:
            pending.append(finished.event)
            if isinstance(finished.event, Done):
                pending.append(Added(tuple(on_done(finished))))
