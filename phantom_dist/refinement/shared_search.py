"""The learning rates at which to train next, where each training answers for many words.

With a training set all watched words share a training: one rate gives a point of every word's curve g_T(η). So rates
are chosen for all words at once:

1. a first round over the whole range in which the roots are thought to lie: where the law predicts them, or to first
   order, Π = 1;
2. then for each word without a closed bracket: a rate on the side where its bracket is open, or at the estimated root
   while its bracket is wide, or else two rates that close it. Words whose roots are near share rates.

The choice follows from the rounds before it alone. A run that was interrupted in the middle of a round, or continues
on other workers, goes on with the same rates.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from phantom_dist.core.summaries import TrialSummary
from phantom_dist.refinement.critical_rate import points_of
from phantom_dist.refinement.curve import Curve, curve
from phantom_dist.refinement.root_search import CLOSE, MAX_TRIALS, bracket
from phantom_dist.refinement.search import Search

MARGIN = 2.0
"""The first round begins and ends so far beyond the lowest and the highest estimate."""

FIRST_APART = 2.5
"""Largest ratio of neighbouring rates of the first round."""

MOST = 16
"""Most rates of the first round; the highest are left out, as words that hardly move have estimates of any height."""

APART = 2.0
"""Largest ratio to the next rate beyond those that were tried."""

NEAR = 1.3
"""A rate within this ratio of another one of its round tells too little more."""

SURE = 1.8
"""Within a bracket of this ratio a root is known well enough to be closed in on."""

_NEIGHBOURS = 2
"""Points on either side of a bracket that its interpolation knows, at most."""


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
    estimates = [_estimate(word.search) for word in words if word.searches]
    tried = [{point.learning_rate for point in whole.points} for whole in curves]
    known: set[float] = set()
    while True:
        asked = propose([_restricted(whole, known) for whole in curves], tolerance, estimates)
        if not asked:
            return ()
        missing = tuple(rate for rate in asked if not all(rate in rates for rates in tried))
        if missing:
            return missing
        known.update(asked)


def _restricted(whole: Curve, rates: set[float]) -> Curve:
    return replace(whole, points=tuple(point for point in whole.points if point.learning_rate in rates))


def _estimate(search: Search) -> float | None:
    """Where the root is thought to lie before any training; None where the first steps widen the gap."""
    if search.expected is not None:
        return search.expected[1]
    return -search.gap_0 / search.slope_0 if search.slope_0 > 0 else None


def propose(
    curves: Sequence[Curve], tolerance: float, estimates: Sequence[float | None]
) -> tuple[float, ...]:
    """The rates of one round, ascending; empty if every curve has a bracket of the tolerance, or none can be found.

    `estimates`: where each root is thought to lie before any training.
    """
    if not any(known.points for known in curves):
        return _first_round([estimate for estimate in estimates if estimate is not None])
    limit = MAX_TRIALS + 2 * len(curves)
    open_curves = [known for known in curves if not _is_settled(known, tolerance, limit)]
    tried = {point.learning_rate for known in curves for point in known.points}
    roots = sorted(root for known in open_curves if (root := _sure_root(known)) is not None)
    chosen = set(_closing(roots, tried, tolerance))
    for rate in sorted(_single(known, tolerance) for known in open_curves if _sure_root(known) is None):
        if not any(max(rate, other) / min(rate, other) <= NEAR for other in chosen) and rate not in tried:
            chosen.add(rate)
    return tuple(sorted(chosen))


def _first_round(estimates: Sequence[float]) -> tuple[float, ...]:
    """Rates over the whole range of the estimates, so that most roots lie between two of them at once.

    Replayed on 56 trainings with 25 words each, whose predictions were 30 to 90 % off, this takes as many trainings as
    a start at the lower half of the estimates, in six rounds instead of ten. Ends at the predictions' intervals, which
    are 5 to 40 times wide, take two trainings more.
    """
    if not estimates:
        return ()
    low, high = min(estimates) / MARGIN, max(estimates) * MARGIN
    count = 1 + math.ceil(math.log(high / low) / math.log(FIRST_APART))
    ratio = (high / low) ** (1 / (count - 1))
    return tuple(low * ratio**index for index in range(min(count, MOST)))


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
    """The root, where it is bracketed narrowly enough to be closed in on; else None."""
    low, high = _bounds(known)
    if known.above is None or known.below is None or high / low > SURE:
        return None
    return _root(known)


def _root(known: Curve) -> float | None:
    """The bracketed root by monotone interpolation (PCHIP) of the gap over ln η; None without a bracket.

    Points around the bracket are known to it, but a curve that bends beyond them, or relapses, can't push the root out.
    The slope at η = 0, which the searches of single contexts use, is not that of this curve: the batches that follow
    the first one, and adapters that grow, change it.
    """
    closed, low, high = bracket(known), known.below, known.above
    if closed is None or low is None or high is None:
        return None
    from scipy.interpolate import PchipInterpolator  # takes half a second, which only these searches need

    points = [point for point in known.points if point.on_curve]
    first, last = points.index(low), points.index(high)
    near = points[max(0, first - _NEIGHBOURS) : last + 1 + _NEIGHBOURS]
    gaps = PchipInterpolator([math.log(point.learning_rate) for point in near], [p.gap for p in near])
    roots = gaps.solve(0.0, extrapolate=False)
    return next((rate for rate in map(math.exp, roots) if closed.low < rate < closed.high), closed.root)


def _single(known: Curve, tolerance: float) -> float:
    """One rate that tells more of a root that is not yet bracketed narrowly."""
    low, high = _bounds(known)
    root, close = _root(known), 1 + CLOSE * tolerance
    if root is not None:  # just beyond an end, where that would close the bracket
        return low * close if root < low * close else min(root, high / close)
    if math.isinf(high):
        return min(max(_straight(known), 1.2 * low), APART * low)
    if not low:
        return max(min(_straight(known), high / 1.2), high / APART**2)
    return math.sqrt(low * high)


def _straight(known: Curve) -> float:
    """Where a straight line through two points of the curve crosses 0, without a bracket; infinity where it never does.

    Through the last two points below 0, so that a plateau is left by wide steps; else through the first one above. The
    untouched model is a point, too.
    """
    origin = (0.0, known.gap_0)
    if known.below is not None:
        last = known.points.index(known.below)
        points = [origin, *((point.learning_rate, point.gap) for point in known.points[: last + 1])][-2:]
    elif known.above is not None:
        points = [origin, (known.above.learning_rate, known.above.gap)]
    else:
        return 0.0  # it diverged at once
    (low, below), (high, above) = points
    return high - above * (high - low) / (above - below) if above > below else math.inf


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
        if above <= below * (1 + tolerance):
            continue
        has_below, has_above = below * close >= root * margin, above <= root * close / margin
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
