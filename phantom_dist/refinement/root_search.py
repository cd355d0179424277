"""The next learning rate of a search for g_T(η) = 0, by safeguarded polynomial interpolation.

h(0) = g_0 and h'(0) = T κ are known before any trial, so the first guess is first order, η = |g_0| / (T κ), that is
Π = 1, or the law's prediction. After each trial the search estimates the root of h(η) by that of the polynomial through
the origin (value and slope) and the trials nearest to zero. It places one trial just below the estimate and the next
just above it, so that the two close the bracket; both in one round if `trials_per_search` allows. Where the polynomial
has no root between the known bounds, the search multiplies η by two or bisects log η.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from numpy.polynomial import Polynomial

from phantom_dist.core.divided_differences import newton_form
from phantom_dist.refinement.curve import Curve

MAX_TRIALS = 30
"""A search stops after this many trials; smooth curves take three to five."""

Expected = tuple[float, float, float]
"""A predicted root and its interval: low, rate, high."""

_NODES = 3
"""Trials that the polynomial passes through, at most."""

CLOSE = 0.95
"""Distance of two trials that close a bracket, in tolerances; below 1 so that rounding can't exceed the tolerance."""


@dataclass(frozen=True, slots=True)
class Ask:
    """The learning rates to train next, in one round; at least one."""

    learning_rates: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Bracket:
    """Two trials with opposite signs of g_T, and the root between them (linear in log η)."""

    low: float
    high: float
    root: float

    @property
    def width(self) -> float:
        """Relative width, high / low - 1."""
        return self.high / self.low - 1


@dataclass(frozen=True, slots=True)
class NoRoot:
    """Why there is no critical rate: `kappa_not_positive`, `diverges_before_crossing` or `no_crossing_found`."""

    reason: str


def bracket(curve: Curve) -> Bracket | None:
    """The narrowest admissible bracket among the points so far, of any width."""
    low, high = curve.below, curve.above
    if low is None or high is None:
        return None
    share = -low.gap / (high.gap - low.gap)
    root = math.exp((1 - share) * math.log(low.learning_rate) + share * math.log(high.learning_rate))
    return Bracket(
        low.learning_rate, high.learning_rate, min(max(root, low.learning_rate), high.learning_rate)
    )


def next_step(
    curve: Curve, tolerance: float, *, expected: Expected | None = None, trials_per_search: int = 1
) -> Ask | Bracket | NoRoot:
    """The next step of a search: trials, a closed bracket, or no root. It depends on the curve's points only.

    Args:
        curve: g_0 < 0 and the trials so far.
        tolerance: largest relative width of the bracket, e.g. 0.01.
        expected: where the search starts; None for first order.
        trials_per_search: the most trials to propose at once. A second one is proposed if the root is known well
            enough that the two are likely to close the bracket. The ends of the expected interval are a third and a
            fourth.
    """
    if not curve.slope_0 > 0:
        return NoRoot("kappa_not_positive")
    closed = bracket(curve)
    if closed is not None and closed.width <= tolerance:
        return closed
    low = curve.below.learning_rate if curve.below else 0.0
    diverged = curve.diverged
    if curve.above is None and diverged and low and diverged.learning_rate / low - 1 <= tolerance:
        return NoRoot("diverges_before_crossing")
    if len(curve.points) >= MAX_TRIALS:
        return NoRoot("no_crossing_found")
    if expected is not None and not curve.points:
        least, rate, most = expected
        aim = rate / _apart(tolerance) ** 0.5
        return Ask((aim, aim * _apart(tolerance), most, least)[:trials_per_search])
    return Ask(_place(curve, low, tolerance)[:trials_per_search])


def _apart(tolerance: float) -> float:
    """The ratio of two rates that close a bracket."""
    return 1 + CLOSE * tolerance


def _place(curve: Curve, low: float, tolerance: float) -> tuple[float, ...]:
    """The next rate, strictly between the known bounds; and perhaps a second one that would close the bracket."""
    ends = [p.learning_rate for p in (curve.above, curve.diverged) if p is not None]
    high = min(ends) if ends else math.inf
    root = interpolated_root(curve, low, high)
    if root is None or _stalling(curve, high / low if low else math.inf, tolerance):
        return (_bisect(low, high),)
    if math.isinf(high):
        root = min(root, 4 * low) if low else root
    close = _apart(tolerance)
    if low and root <= low * close:
        return (low * close if low * close < high else _bisect(low, high),)
    if curve.above is not None and root >= high / close:
        return (high / close if high / close > low else _bisect(low, high),)
    # Aim half a tolerance below the root: if the estimate is right, the next trial closes the bracket.
    aim = root / close**0.5
    if not low < aim < high:
        return (root,)
    # The origin and a single trial determine the root too poorly to place a second trial.
    return (aim, aim * close) if len(curve.points) > 1 and aim * close < high else (aim,)


def _bisect(low: float, high: float) -> float:
    if math.isinf(high):
        return 2 * low
    return math.sqrt(low * high) if low else high / 2


def _stalling(curve: Curve, ratio: float, tolerance: float) -> bool:
    """Whether to bisect: every third trial of a long search does, so that the bracket shrinks for any curve."""
    return len(curve.points) >= 6 and len(curve.points) % 3 == 0 and ratio > 1 + 4 * tolerance


def interpolated_root(curve: Curve, low: float, high: float) -> float | None:
    """The smallest zero in (low, high) of the polynomial h(η) through the origin, its slope, and the nearest points.

    In x = η / η(Π=1), where the slope at the origin is −g_0. Returns None where the polynomial has no zero there.
    """
    unit = -curve.gap_0 / curve.slope_0
    nearest = sorted((p for p in curve.points if p.on_curve), key=lambda p: abs(p.gap))[:_NODES]
    nodes, coefficients = newton_form(
        nodes=[0.0, *(p.learning_rate / unit for p in nearest)],
        values=[curve.gap_0, *(p.gap for p in nearest)],
        slope=-curve.gap_0,
    )
    polynomial, basis = Polynomial([curve.gap_0]), Polynomial([1.0])
    for node, coefficient in zip(nodes, coefficients[1:], strict=False):
        basis *= Polynomial([-node, 1.0])
        polynomial += coefficient * basis
    zeros = [complex(zero) for zero in polynomial.roots()]
    rates = sorted(unit * z.real for z in zeros if abs(z.imag) <= 1e-9 * abs(z))
    return next((rate for rate in rates if low < rate < high), None)
