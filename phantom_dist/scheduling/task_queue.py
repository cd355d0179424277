"""Tasks that wait for a worker."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from phantom_dist.scheduling.tasks import Task

Needs = tuple[str, float]
"""A task's model, and the memory of the workers that may take it (bytes)."""


@dataclass(slots=True, eq=False)
class Entry:
    """A task that isn't over: it waits, or runs on the workers `holders` (several while copies run)."""

    task: Task
    failures: int = 0
    preemptions: int = 0
    holders: list[str] = field(default_factory=list)


class TaskQueue:
    """Waiting tasks of equal `Needs`: repeated tasks first, then the longest, then the oldest.

    `seconds`: the predicted time of all of them (s).
    """

    def __init__(self) -> None:
        self._heap: list[tuple[bool, float, int, Entry]] = []
        self.seconds = 0.0

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, entry: Entry, number: int, again: bool) -> None:
        """Add a task; a larger `number` is a younger task, and `again` marks one that ran before."""
        self.seconds += entry.task.seconds
        heapq.heappush(self._heap, (not again, -entry.task.seconds, number, entry))

    def pop(self) -> Entry:
        """Remove the task that comes first."""
        entry = heapq.heappop(self._heap)[-1]
        self.seconds -= entry.task.seconds
        return entry
