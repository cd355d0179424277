"""A worker that is several processes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class RankGroup:
    """A worker of several processes that share a model: how many `ranks`, and DeepSpeed's ZeRO `stage` (2 or 3).

    `timeout_s`: how long (s) a rank that makes no progress is waited for.
    """

    ranks: int
    stage: int
    timeout_s: float = 30.0
