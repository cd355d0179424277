"""A snapshot of a run's progress, for observers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # so that the live view doesn't import pydantic
    from phantom_dist.core.trial import Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchProgress:
    """One problem: trials done and expected, the current bracket (learning rates), and whether it is finished."""

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


def title(problem: Problem) -> str:
    """A problem's name in texts."""
    return f"{problem.model} {problem.context.id} {problem.method} {problem.optimizer.name} T={problem.steps}"
