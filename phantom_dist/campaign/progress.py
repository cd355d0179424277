"""Where a run stands, for whoever watches it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchProgress:
    """One problem: trials done of those expected, the bracket so far (learning rates) and whether it is finished."""

    name: str
    trials: int
    expected: int
    bracket: tuple[float, float] | None
    finished: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """A snapshot. `elapsed` and `left` in seconds; `left` is None before the first trial of this start is done."""

    name: str
    elapsed: float
    left: float | None
    done: int
    expected: int
    trials_per_second: float
    outcomes: dict[str, int]
    searches: tuple[SearchProgress, ...]
    workers: int
