"""The learning rates at which to train next, where each training answers for many words.

With a training set all watched words share a training: one rate gives a point of every word's curve g_T(η). So rates
are chosen for all words at once:

1. a first round over the range of all first-order estimates, Π = 1;
2. then for each word without a closed bracket: a rate on the side where its bracket is open, or at the estimated root
   while estimates still disagree, or else two rates that close the bracket. Words whose roots are near share rates.

The choice follows from the rounds before it alone. A run that was interrupted in the middle of a round, or continues
on other workers, goes on with the same rates.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from phantom_dist.core.summaries import TrialSummary
from phantom_dist.refinement.critical_rate import points_of
from phantom_dist.refinement.curve import Curve, Point, curve
from phantom_dist.refinement.root_search import CLOSE, MAX_TRIALS, bracket, interpolated_root
from phantom_dist.refinement.search import Search

MARGIN = 1.5
"""The first round goes beyond the first-order estimates by this factor on both sides."""

APART = 2.0
"""Largest ratio of neighbouring rates of the first round."""

NEAR = 1.3
"""A rate within this ratio of another one of its round tells too little more."""

SURE = 1.5
"""Within a bracket of this ratio an interpolated root is taken as it is; in a wider one it must be confirmed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Word:
    """One word's search and its trials so far."""

    search: Search
    trials: Sequence[TrialSummary]

    @property
    def searches(self) -> bool:
        """Whether it may choose rates: none of its trials was refused or given up."""
        return all(trial.outcome.trained for trial in self.trials)


def next_learning_rates(words: Sequence[Word], tolerance: float) -> tuple[float, ...]:
    """The rates of the next round at which some word has no trial yet, ascending; empty if all words are settled.

    Args:
        words: those that choose rates, in a fixed order.
        tolerance: largest relative width of a bracket.
    """
    curves = [
        curve(word.search.gap_0, word.search.slope_0, points_of(word.trials))
        for word in words
        if word.searches
    ]
    tried = [{point.learning_rate for point in whole.points} for whole in curves]
    known: set[float] = set()
    while True:
        asked = propose([_restricted(whole, known) for whole in curves], tolerance)
        if not asked:
            return ()
        missing = tuple(rate for rate in asked if not all(rate in rates for rates in tried))
        if missing:
            return missing
        known.update(asked)


def _restricted(whole: Curve, rates: set[float]) -> Curve:
    return replace(whole, points=tuple(point for point in whole.points if point.learning_rate in rates))


def propose(curves: Sequence[Curve], tolerance: float) -> tuple[float, ...]:
    """The rates of one round, ascending; empty if every curve has a bracket of the tolerance, or none can be found."""
    if not any(known.points for known in curves):
        return _first_round([-known.gap_0 / known.slope_0 for known in curves if known.slope_0 > 0])
    limit = MAX_TRIALS + 2 * len(curves)
    open_curves = [known for known in curves if not _is_settled(known, tolerance, limit)]
    tried = {point.learning_rate for known in curves for point in known.points}
    roots = sorted(root for known in open_curves if (root := _sure_root(known)) is not None)
    chosen = set(_closing(roots, tried, tolerance))
    for rate in sorted(_single(known) for known in open_curves if _sure_root(known) is None):
        if not any(max(rate, other) / min(rate, other) <= NEAR for other in chosen) and rate not in tried:
            chosen.add(rate)
    return tuple(sorted(chosen))


def _first_round(estimates: Sequence[float]) -> tuple[float, ...]:
    if not estimates:
        return ()
    low, high = min(estimates) / MARGIN, max(estimates) * MARGIN
    count = 1 + max(2, math.ceil(math.log(high / low) / math.log(APART)))
    return tuple(low * (high / low) ** (index / (count - 1)) for index in range(count))


def _is_settled(known: Curve, tolerance: float, limit: int) -> bool:
    closed = bracket(known)
    if closed is not None:
        return closed.width <= tolerance or len(known.points) >= limit
    low, diverged = known.below, known.diverged
    if (
        diverged is not None
        and low is not None
        and diverged.learning_rate / low.learning_rate - 1 <= tolerance
    ):
        return True
    return len(known.points) >= limit


def _bounds(known: Curve) -> tuple[float, float]:
    """The rates between which the root lies; 0 and infinity where unknown."""
    ends = [point.learning_rate for point in (known.above, known.diverged) if point is not None]
    return known.below.learning_rate if known.below else 0.0, min(ends, default=math.inf)


def _sure_root(known: Curve) -> float | None:
    """The root, where it is bracketed and known well enough to be closed in on; else None."""
    low, high = _bounds(known)
    if known.above is None or known.below is None:
        return None
    root = _root(known, low, high)
    if root is None:
        return None
    if high / low <= SURE:
        return root
    others = _root(_without_farthest(known), low, high)
    is_confirmed = others is not None and abs(math.log(others / root)) <= math.log(SURE) / 16
    return root if is_confirmed else None


def _root(known: Curve, low: float, high: float) -> float | None:
    """The root by interpolation; in a wide bracket none for a curve that falls at first, which training may turn."""
    if known.slope_0 > 0:
        return interpolated_root(known, low, high)
    closed = bracket(known)
    return None if closed is None or high / low > SURE else closed.root


def _without_farthest(known: Curve) -> Curve:
    """The curve without the third nearest of its points, on which the interpolated root depends."""
    nearest: list[Point] = sorted((p for p in known.points if p.on_curve), key=lambda p: abs(p.gap))
    left_out = nearest[2:3]
    return replace(known, points=tuple(point for point in known.points if point not in left_out))


def _single(known: Curve) -> float:
    """One rate that tells more of a root that is not yet known well."""
    low, high = _bounds(known)
    root = _root(known, low, high)
    if root is None:
        if math.isinf(high):
            return APART * low
        return math.sqrt(low * high) if low else high / APART
    if math.isinf(high):
        return min(max(root, low * 1.2), 4 * low)
    return max(root, high / 8) if not low else root


def _closing(roots: Iterable[float], tried: set[float], tolerance: float) -> Iterator[float]:
    """Rates so that every root lies between two neighbours, tried or new, of a ratio within the tolerance.

    Args:
        roots: ascending.
        tried: rates that exist.
        tolerance: largest relative distance of two neighbours.
    """
    close = 1 + CLOSE * tolerance
    margin = close**0.25  # so far a root may be off
    rates = sorted(tried)
    roots = list(roots)
    for index, root in enumerate(roots):
        below = max((rate for rate in rates if rate < root), default=0.0)
        above = min((rate for rate in rates if rate > root), default=math.inf)
        has_below, has_above = below * close >= root * margin, above <= root * close / margin
        if has_below and has_above and above <= below * (1 + tolerance):
            continue
        if has_below and below * close > root:
            new = [below * close]
        elif has_above and above / close < root:
            new = [above / close]
        else:
            following = roots[index + 1] if index + 1 < len(roots) else math.inf
            # If the next root is near, put the pair so far up that its upper rate is below that root as well.
            shares = root * close < following < root * close**2 / margin
            first = root / margin if shares else root / close**0.5
            new = [first, first * close]
        yield from new
        rates = sorted({*rates, *new})
