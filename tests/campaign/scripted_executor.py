"""An executor without processes or models: workers of a scripted world, with the real ledger and driver."""

from __future__ import annotations

import random
from collections import deque

from phantom_dist.core.outcome import Outcome
from phantom_dist.scheduling.executor import Executor, Finished, TaskOutput
from phantom_dist.scheduling.messages import Done, Failed, Joined, Lost, Start
from phantom_dist.scheduling.tasks import ProbeTask

from .scripted import World


class ScriptedExecutor(Executor):
    """So many workers; a seed decides which task ends first, and which fail.

    Args:
        world: what is measured.
        workers: how many there are.
        seed: of all random choices.
        trouble: how many of the first attempts fail, are killed, or run out of memory.
    """

    def __init__(self, world: World, workers: int = 2, *, seed: int = 0, trouble: int = 0) -> None:
        self._world, self._draw, self._trouble = world, random.Random(seed), trouble
        self._joining = deque(f"w{i}" for i in range(workers))
        self._there: list[str] = []
        self._running: list[Start] = []
        self._now = 0.0
        self.closed = False

    @property
    def workers(self) -> tuple[str, ...]:
        return tuple(self._there)

    def now(self) -> float:
        return self._now

    def start(self, command: Start) -> None:
        self._running.append(command)

    def wait(self, timeout: float) -> Finished | Joined | None:
        self._now += 0.01
        if self._joining:
            self._there.append(self._joining.popleft())
            return Joined(self._there[-1])
        if not self._running:
            return None
        command = self._running.pop(self._draw.randrange(len(self._running)))
        if self._trouble:
            self._trouble -= 1
            return Finished(self._bad_end(command), command.task)
        task = command.task
        if isinstance(task, ProbeTask):
            output = TaskOutput(probed=tuple(map(self._world.probe, task.problems)))
        else:
            output = TaskOutput(trials=tuple(self._world.train(task.trials)))
        return Finished(Done(command.worker, command.lease), task, output)

    def _bad_end(self, command: Start) -> Failed | Lost:
        worker, lease = command.worker, command.lease
        match self._draw.randrange(3):
            case 0:
                return Failed(worker, lease, Outcome.ERROR, "scripted")
            case 1:
                return Failed(worker, lease, Outcome.OUT_OF_MEMORY, "scripted")
            case _:
                return Lost(worker, lease, "scripted", preempted=True)

    def replace(self, worker: str) -> None:
        self._there.remove(worker)
        self._joining.append(worker)

    def close(self) -> None:
        self.closed = True
