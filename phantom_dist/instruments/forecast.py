"""Whether the rest of a training can still change a trial's outcome; our own rule, with its measured error.

τ_s = Σ_{r<s} η_r / η counts the steps taken in units of the peak learning rate, R_s = Σ_{r>=s} η_r / η those to come. A
quantity q is decided where even `SAFETY` times its fastest change per unit of τ in the second half of the trace so far
can't take it across a border b in what is left:

|q_s - b| > SAFETY · max |Δq / Δτ| · R_s.

A trial is decided where its gap is (border 0, which separates committed from all others), and, with g_s <= 0 and none
above 0 before, its drag (border δ_0 minus the threshold of a structural failure); not before half of all rates and
`FEWEST` measurements, and not while the loss is above its start, from where it may diverge.

`python -m tests.benchmarks.early_stopping` measures the rule; README.md of this folder has the figures.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

from phantom_dist.core.schedule import Schedule

SAFETY = 4.0
"""Fixed on ten models of the zoo so that at most 0.5 % of the outcomes differ; checked on the other four."""

FEWEST = 5
"""Least measurements."""

LEAST_SHARE = 0.5
"""Least share of Σ η_r / η."""


@functools.lru_cache(maxsize=64)
def _taken(schedule: Schedule, steps: int) -> tuple[float, ...]:
    """τ_0 to τ_T."""
    sums = [0.0]
    for factor in schedule.factors(steps):
        sums.append(sums[-1] + factor)
    return tuple(sums)


def is_decided(
    schedule: Schedule,
    steps: int,
    at: Sequence[int],
    *,
    gap: Sequence[float],
    drag: Sequence[float],
    loss: tuple[float | None, float | None],
    structural_drag: float,
    safety: float = SAFETY,
) -> bool:
    """Whether a trial's outcome is decided by its trace so far.

    Args:
        schedule, steps: of the training.
        at: steps after which it was measured, the first one 0.
        gap, drag: measured there; logits and dimensionless.
        loss: of what is trained on, at the start and now; nats. None where it isn't known.
        structural_drag: fall of the drag from which a failure is structural.
        safety: see the module.
    """
    tau = _taken(schedule, steps)
    now, left = tau[at[-1]], tau[-1] - tau[at[-1]]
    first, last = loss
    if len(at) < FEWEST or now < LEAST_SHARE * tau[-1] or first is None or last is None or not last <= first:
        return False
    recent = len(at) // 2

    def reach(values: Sequence[float]) -> float:
        """How far it may go in what is left."""
        fastest = 0.0
        for before, after in zip(range(recent, len(at) - 1), range(recent + 1, len(at)), strict=True):
            moved, took = abs(values[after] - values[before]), tau[at[after]] - tau[at[before]]
            if moved:
                fastest = max(fastest, moved / took if took else math.inf)
        return safety * fastest * left

    if not abs(gap[-1]) > reach(gap):
        return False
    if gap[-1] > 0 or max(gap) > 0:
        return True
    return abs(drag[-1] - (drag[0] - structural_drag)) > reach(drag)
