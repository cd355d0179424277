"""Decides when to look: as often as the interval says, but no more often than the time budget allows."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Clock = Callable[[], float]


class Pacing:
    """Decides at which steps to look, from the cost of the looks so far.

    A look is due `every` steps after the last if two looks fit into the budget, `budget` times the elapsed time: this
    one, and one in reserve for the end of training. Where they don't fit, the interval grows: a look that took longer
    than expected delays the next.

    Args:
        every: steps between looks.
        budget: share of the elapsed time, 0 to 1.
        clock: returns seconds; monotonic.
    """

    def __init__(self, every: int, budget: float, clock: Clock) -> None:
        self.every = every
        self.budget = budget
        self.looks = 0
        self.spent = 0.0
        self._clock = clock
        self._started = clock()
        self._costs: deque[float] = deque(maxlen=5)
        self._last_step: int | None = None

    @property
    def elapsed(self) -> float:
        """Seconds since the monitor started, its own time included."""
        return self._clock() - self._started

    @property
    def share(self) -> float:
        """The monitor's time so far, as a share of the elapsed time."""
        elapsed = self.elapsed
        return self.spent / elapsed if elapsed > 0 else 0.0

    def due(self, step: int) -> bool:
        """Whether to look at this step."""
        if self._last_step is not None and step < self._last_step + self.every:
            return False
        return self.affords(2)

    def affords(self, looks: float) -> bool:
        """Whether the budget allows this many looks at the median cost of the last five; a budget of 1 allows any."""
        cost = statistics.median(self._costs) if self._costs else 0.0
        return self.budget >= 1 or self.spent + looks * cost <= self.budget * self.elapsed

    def resume(self, last_step: int) -> None:
        """Continue a resumed training, whose last look was at this step."""
        self._last_step = last_step

    @contextmanager
    def looking(self, step: int) -> Iterator[None]:
        """Context of a look: counts it, and its time as the monitor's."""
        with self.working():
            before = self._clock()
            yield
            self._costs.append(self._clock() - before)
        self._last_step, self.looks = step, self.looks + 1

    @contextmanager
    def working(self) -> Iterator[None]:
        """Context of any other work of the monitor: counts its time as the monitor's."""
        before = self._clock()
        try:
            yield
        finally:
            self.spent += self._clock() - before
