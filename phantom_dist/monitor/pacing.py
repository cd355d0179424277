"""When to look: often enough to see, rarely enough to cost no more than the budget."""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Clock = Callable[[], float]


class Pacing:
    """Decides which steps are looked at from what looking has cost so far.

    A look is due `every` steps after the last, if its cost and that of one more, kept back for the end of training,
    fit into `budget` times all the time that has gone by. Where they don't, the interval grows by itself; a look that
    took longer than expected is paid off before the next.

    Args:
        every: steps between looks.
        budget: share of the elapsed time, 0 to 1.
        clock: seconds; monotonic.
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
        """Seconds since the monitor began, its own among them."""
        return self._clock() - self._started

    @property
    def share(self) -> float:
        """What looking has cost so far as a share of the elapsed time."""
        elapsed = self.elapsed
        return self.spent / elapsed if elapsed > 0 else 0.0

    def due(self, step: int) -> bool:
        """Whether this step is looked at."""
        if self._last_step is not None and step < self._last_step + self.every:
            return False
        return self.affords(2)

    def affords(self, looks: float) -> bool:
        """Whether the budget has room for so many looks, as dear as the last five's median; one of 1 has always."""
        cost = statistics.median(self._costs) if self._costs else 0.0
        return self.budget >= 1 or self.spent + looks * cost <= self.budget * self.elapsed

    def resume(self, last_step: int) -> None:
        """The last look was at this step, before the training was resumed."""
        self._last_step = last_step

    @contextmanager
    def looking(self, step: int) -> Iterator[None]:
        """Around a look: its time is the monitor's."""
        with self.working():
            before = self._clock()
            yield
            self._costs.append(self._clock() - before)
        self._last_step, self.looks = step, self.looks + 1

    @contextmanager
    def working(self) -> Iterator[None]:
        """Around any other work of the monitor."""
        before = self._clock()
        try:
            yield
        finally:
            self.spent += self._clock() - before
