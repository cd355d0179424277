"""How much memory each worker has, and the largest task that it may take."""

from __future__ import annotations

import math

MISSING_S = 900.0
"""A worker that is away for so long is not expected back: a cloud takes minutes to provide another machine."""

_EXPECTED = ""
"""Stands for the largest worker that is expected to join."""


class WorkerMemory:
    """Memory (bytes) of the workers that are present, or may come back.

    Args:
        expected: memory of the largest worker that is expected to join (bytes); 0 if none is expected.
    """

    def __init__(self, expected: float) -> None:
        self._of: dict[str, float] = {_EXPECTED: expected} if expected else {}
        self._away_since: dict[str, float] = {}
        self._largest = expected

    def joined(self, worker: str, memory: float) -> None:
        """A worker with so much memory (bytes) is present."""
        before, self._of[worker] = self._of.get(worker, 0.0), memory
        self._away_since.pop(worker, None)
        shrunk = memory < before == self._largest
        self._largest = max(self._of.values()) if shrunk else max(self._largest, memory)

    def left(self, worker: str, now: float) -> None:
        """A worker's process ended; another one may join in its place."""
        self._away_since[worker] = now

    def forget_missing(self, now: float) -> None:
        """Forget the workers that have been away for longer than `MISSING_S`."""
        if _EXPECTED in self._of:
            self._away_since.setdefault(_EXPECTED, now)  # counted from the first event on
        missing = [worker for worker, since in self._away_since.items() if now - since > MISSING_S]
        for worker in missing:
            del self._away_since[worker], self._of[worker]
        if missing:
            self._largest = max(self._of.values(), default=0.0)

    def reach(self, worker: str) -> float:
        """The largest `memory_bytes` of a task that the worker may take; the largest worker may take any task."""
        memory = self._of[worker]
        return math.inf if memory >= self._largest else memory
