"""Phrases that the figures' alternative texts share."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from phantom_dist.reports.rows import Row
from phantom_dist.reports.tables import number


def outcomes_of(trials: Iterable[Row]) -> str:
    """The number of trials of each outcome, the most frequent first."""
    counts = Counter(row["outcome"] for row in trials)
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()) or "no trial"


def value_range(values: Sequence[float]) -> str:
    """The smallest and the largest value; a single number where both read the same."""
    if not values:
        return "unknown"
    low, high = number(min(values), 3), number(max(values), 3)
    return low if low == high else f"{low} to {high}"


def count_of(items: Sequence[object], word: str) -> str:
    """The number of items, with the word in singular or plural."""
    return f"{len(items)} {word}{'' if len(items) == 1 else 's'}"


def is_finite(value: float | None) -> bool:
    """Whether the value is known and neither NaN nor infinite."""
    return value is not None and math.isfinite(value)
