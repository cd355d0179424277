"""What is known of one curve h(η) = g_T(η): its value and slope at η = 0, and the trials so far."""

from __future__ import annotations

import math
from dataclasses import dataclass

from phantom_dist.core.outcome import Outcome


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """One finished trial: its learning rate, final gap g_T in logits (NaN if non-finite) and outcome."""

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
        """The smallest learning rate that committed: the only positive end that a bracket may have."""
        return next((p for p in self.points if p.on_curve and p.gap > 0), None)

    @property
    def below(self) -> Point | None:
        """The largest learning rate under `above` (and under any divergence) with g_T <= 0."""
        ceiling = (
            min(p.learning_rate for p in (self.above, self.diverged) if p)
            if self.above or self.diverged
            else math.inf
        )
        under = [p for p in self.points if p.on_curve and p.gap <= 0 and p.learning_rate < ceiling]
        return under[-1] if under else None

    @property
    def diverged(self) -> Point | None:
        """The smallest learning rate at which training left the curve."""
        return next((p for p in self.points if not p.on_curve), None)


def curve(gap_0: float, slope_0: float, points: list[Point]) -> Curve:
    """A curve with its points sorted by learning rate."""
    return Curve(gap_0=gap_0, slope_0=slope_0, points=tuple(sorted(points, key=lambda p: p.learning_rate)))
