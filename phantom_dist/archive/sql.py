"""SQL fragments that several queries share."""

from __future__ import annotations

from collections.abc import Iterable

from phantom_dist.core.outcome import Outcome


def literal(value: str) -> str:
    """Text as a quoted SQL literal."""
    return "'" + value.replace("'", "''") + "'"


def any_of(values: Iterable[str]) -> str:
    """`IN ('a', 'b')`."""
    return f"IN ({', '.join(map(literal, values))})"


FAILED = any_of([Outcome.ERROR.value, Outcome.OUT_OF_MEMORY.value])
"""Condition on an outcome: the attempt failed, which says nothing about the trial."""

TRAINED = any_of(outcome.value for outcome in Outcome if outcome.trained)
"""Condition on an outcome: the trial was trained."""
