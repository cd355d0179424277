"""Trials per second from the moments at which each trial ended, the same for both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Rate:
    """`steady`: trials per second between the first end and the last; `whole`: start and end of the run included."""

    trials: int
    steady: float
    whole: float


def rate_of(names: Sequence[str], ended: Sequence[float], *, asked: int, seconds: float) -> Rate:
    """The rate of a run.

    Args:
        names: of the trials that left a result.
        ended: the moments (s since any origin) at which they ended, in any order; those of one batch are equal.
        asked: how many trials there should be.
        seconds: how long the whole run took.

    Raises:
        RuntimeError: a trial is missing or doubled.
    """
    if len(names) != asked or len(set(names)) != asked:
        raise RuntimeError(f"{asked} trials were asked for; {len(names)} rows hold {len(set(names))} of them")
    first, last = min(ended), max(ended)
    after_first = sum(moment > first for moment in ended)
    return Rate(trials=asked, steady=after_first / (last - first), whole=asked / seconds)
