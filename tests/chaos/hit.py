"""A process that was killed. Every process of a cluster under chaos imports this, so it imports next to nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Hit:
    """A process that was killed. `time`: seconds since 1970; `who`: `worker` or `driver`; `age`: seconds it had run."""

    who: str
    time: float
    process: int
    age: float
