"""A worker that consists of several processes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class RankGroup:
    """A worker of several processes that share a model.

    Attributes:
        ranks: number of processes.
        stage: DeepSpeed's ZeRO stage, 2 or 3.
        lanes: whether each rank trains lanes of its own on one sharded model, where that can be sharded.
        timeout_s: how long the group waits for a rank that makes no progress (s).
    """

    ranks: int
    stage: int
    timeout_s: float = 30.0
    lanes: bool = False
