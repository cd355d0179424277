"""Where a gap ends if training goes on: a line through the latest looks over the sum of learning rates.

First order (README.md of `instruments`): g moves by κ η per step, so over τ_s = Σ_{r<=s} η_r it is straight while κ
keeps its value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LATELY = 0.5
"""The line goes through the looks of the last half of τ: enough to average over batches, little enough to follow."""

FEWEST = 4

MOST_GROWTH = 4.0
"""The largest factor by which a pace is taken to grow again: of two small slopes even noise makes a large one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A straight line through the latest gaps: its value now (logits), slope (logits per unit of τ) and scatter.

    `growth`: by which factor the slope is steeper than that of the first half of τ, from 1 to `MOST_GROWTH`.
    """

    value: float
    slope: float
    scatter: float
    growth: float
    looks: int

    def ahead(self, left: float) -> float:
        """The gap after `left` more of τ."""
        return self.value + self.slope * left

    def at_best(self, left: float, speed_up: float, noise: float) -> float:
        """The same where every doubt is settled for the run.

        Closing goes on `speed_up` times as fast, and as much faster again as it got already; widening stops; `noise`
        times the scatter is progress.
        """
        pace = speed_up * self.growth * max(self.slope, 0.0)
        return self.value + pace * left + noise * self.scatter


def line(taus: Sequence[float], gaps: Sequence[float]) -> Line:
    """The least-squares line through the looks of the last half of τ, at least the last four; all finite."""
    half = taus[0] + (taus[-1] - taus[0]) * (1 - LATELY)
    first = min(next(i for i, tau in enumerate(taus) if tau >= half), max(len(taus) - FEWEST, 0))
    x, y = taus[first:], gaps[first:]
    slope = _slope(x, y)
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    residuals = [b - mean_y - slope * (a - mean_x) for a, b in zip(x, y, strict=True)]
    scatter = math.sqrt(sum(r * r for r in residuals) / max(len(x) - 2, 1))
    early = sum(tau <= half for tau in taus)
    return Line(
        value=mean_y + slope * (x[-1] - mean_x),
        slope=slope,
        scatter=scatter,
        growth=_growth(_slope(taus[:early], gaps[:early]), slope),
        looks=len(x),
    )


def _slope(x: Sequence[float], y: Sequence[float]) -> float:
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((a - mean_x) ** 2 for a in x)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread if spread else 0.0


def _growth(early: float, late: float) -> float:
    if late <= 0:
        return 1.0
    return min(max(late / early, 1.0), MOST_GROWTH) if early > 0 else MOST_GROWTH
