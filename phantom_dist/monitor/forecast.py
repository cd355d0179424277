"""Extrapolates a gap to the end of training: a line through the latest looks, over the sum of learning rates.

To first order (README.md of `instruments`) g changes by κ η per step, so over τ_s = Σ_{r<=s} η_r it is a straight line
as long as κ is constant.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

RECENT = 0.5
"""The line is fitted to the last half of τ: enough looks to average over batches, few enough to follow changes."""

MIN_LOOKS = 4

MAX_GROWTH = 4.0
"""Upper limit of `Line.growth`: the ratio of two small slopes can be large by noise alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A straight line through the latest gaps.

    Attributes:
        value: of the line at the last look, in logits.
        slope: in logits per unit of τ.
        scatter: standard deviation of the gaps about the line, in logits.
        growth: this slope over that of the first half of τ, limited to 1 to `MAX_GROWTH`.
        looks: how many looks the line was fitted to.
    """

    value: float
    slope: float
    scatter: float
    growth: float
    looks: int

    def ahead(self, left: float) -> float:
        """The extrapolated gap (logits) after `left` more of τ."""
        return self.value + self.slope * left

    def at_best(self, left: float, speed_up: float, noise: float) -> float:
        """The most optimistic gap (logits) after `left` more of τ.

        It assumes that a closing gap closes `speed_up` times as fast, and faster once more by `growth`; that a widening
        gap stops; and that `noise` times the scatter counts as progress.
        """
        pace = speed_up * self.growth * max(self.slope, 0.0)
        return self.value + pace * left + noise * self.scatter


def line(taus: Sequence[float], gaps: Sequence[float]) -> Line:
    """Fit the least-squares line to the looks of the last half of τ, at least the last four; all must be finite."""
    half = taus[0] + (taus[-1] - taus[0]) * (1 - RECENT)
    first = min(next(i for i, tau in enumerate(taus) if tau >= half), max(len(taus) - MIN_LOOKS, 0))
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
    return min(max(late / early, 1.0), MAX_GROWTH) if early > 0 else MAX_GROWTH
