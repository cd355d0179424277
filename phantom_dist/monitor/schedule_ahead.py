"""How much learning rate is still to come: Σ η_s over the steps that are left, where the schedule says so."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

POINTS = 512
"""Steps at which a schedule is asked; a longer one is summed by trapezoids between them."""

AGREEMENT = 0.02
"""Relative difference between the schedule's rate and the optimizer's up to which the schedule is believed."""


class ScheduleAhead:
    """The rest of a schedule, from the pure functions of torch's `LambdaLR`, which transformers' schedules are.

    Any other schedule, and one that disagrees with the optimizer, is taken to stay where it is.

    Args:
        scheduler: the learning rate's scheduler or None; a wrapper's inner one is found.
        total: optimizer steps of the whole training.
    """

    def __init__(self, scheduler: Any, total: int | None) -> None:
        inner = getattr(scheduler, "scheduler", scheduler)
        lambdas, bases = getattr(inner, "lr_lambdas", None), getattr(inner, "base_lrs", None)
        self._total = total
        self._known: list[tuple[int, float]] = []
        if total is None or not lambdas or not bases:
            return
        first = max(range(len(bases)), key=lambda i: bases[i])  # the group whose rate the monitor reads
        stride = max(1, total // POINTS)
        steps = [*range(0, total, stride), total]
        self._known = [(step, float(bases[first] * lambdas[first](step))) for step in steps]

    def left(self, step: int, learning_rate: float) -> float:
        """Σ η over the steps after `step`, whose rate is `learning_rate`; 0 where nobody knows the end."""
        if self._total is None:
            return 0.0
        stays = learning_rate * max(self._total - step, 0)
        if not self._known or abs(self._at(step) - learning_rate) > AGREEMENT * self._peak:
            return stays
        ahead = [(step, learning_rate), *((s, rate) for s, rate in self._known if s > step)]
        return sum((b - a) * (rate_a + rate_b) / 2 for (a, rate_a), (b, rate_b) in pairwise(ahead))

    @property
    def _peak(self) -> float:
        return max(rate for _, rate in self._known)

    def _at(self, step: int) -> float:
        before = max((point for point in self._known if point[0] <= step), default=self._known[0])
        after = min((point for point in self._known if point[0] >= step), default=self._known[-1])
        if after[0] == before[0]:
            return before[1]
        part = (step - before[0]) / (after[0] - before[0])
        return before[1] + part * (after[1] - before[1])
