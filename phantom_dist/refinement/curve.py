"""One curve h(η) = g_T(η): its value and slope at η = 0, and the trials so far."""

from __future__ import annotations

import math
from dataclasses import dataclass

from phantom_dist.core.outcome import Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One finished trial: its learning rate, final gap g_T in logits (NaN if it was NaN or Inf) and outcome."""

    learning_rate: float
    gap: float
    outcome: Outcome

    @property
    def on_curve(self) -> bool:
        """True if the trial lies below the divergence, where h is continuous."""
        return self.outcome.trained and self.outcome is not Outcome.DIVERGED and math.isfinite(self.gap)


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """A curve h(η): g_0 = h(0) < 0 in logits, slope h'(0) = T κ in logits, and the points in order of η."""

    gap_0: float
    slope_0: float
    points: tuple[Point, ...] = ()

    @property
    def above(self) -> Point | None:
        """The trial with the smallest committed learning rate, if none below diverged: the bracket's positive end."""
        first = next((p for p in self.points if not p.on_curve or p.gap > 0), None)
        return first if first is not None and first.on_curve else None

    @property
    def below(self) -> Point | None:
        """The trial with the largest learning rate below the first that committed or diverged: its g_T is <= 0."""
        last = None
        for point in self.points:
            if not point.on_curve or point.gap > 0:
                break
            last = point
        return last

    @property
    def diverged(self) -> Point | None:
        """The trial with the smallest diverged learning rate."""
        return next((p for p in self.points if not p.on_curve), None)


def curve(gap_0: float, slope_0: float, points: list[Point]) -> Curve:
    """A curve with its points sorted by learning rate."""
    return Curve(gap_0=gap_0, slope_0=slope_0, points=tuple(sorted(points, key=lambda p: p.learning_rate)))
