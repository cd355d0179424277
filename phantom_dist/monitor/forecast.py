"""Where a gap ends if training goes on: a line through the latest looks over the sum of learning rates.

First order (README, "What is measured"): g moves by κ η per step, so over τ_s = Σ_{r<=s} η_r it is straight while κ
keeps its value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LATELY = 0.5
"""The line goes through the looks of the last half of τ: enough to average over batches, little enough to follow."""

FEWEST = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A straight line through the latest gaps: its value now (logits), slope (logits per unit of τ) and scatter."""

    value: float
    slope: float
    scatter: float
    looks: int

    def ahead(self, left: float) -> float:
        """The gap after `left` more of τ."""
        return self.value + self.slope * left

    def at_best(self, left: float, speed_up: float, noise: float) -> float:
        """The same where every doubt is settled for the run.

        Closing goes on `speed_up` times as fast, widening stops, and `noise` times the scatter is progress.
        """
        return self.value + speed_up * max(self.slope, 0.0) * left + noise * self.scatter


def line(taus: Sequence[float], gaps: Sequence[float]) -> Line:
    """The least-squares line through the looks of the last half of τ, at least the last four; all finite."""
    since = taus[0] + (taus[-1] - taus[0]) * (1 - LATELY)
    first = min(next(i for i, tau in enumerate(taus) if tau >= since), max(len(taus) - FEWEST, 0))
    x, y = taus[first:], gaps[first:]
    n = len(x)
    mean_x, mean_y = sum(x) / n, sum(y) / n
    spread = sum((a - mean_x) ** 2 for a in x)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread if spread else 0.0
    residuals = [b - mean_y - slope * (a - mean_x) for a, b in zip(x, y, strict=True)]
    scatter = math.sqrt(sum(r * r for r in residuals) / max(n - 2, 1))
    return Line(value=mean_y + slope * (x[-1] - mean_x), slope=slope, scatter=scatter, looks=n)
