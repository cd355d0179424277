"""From a trace to its outcome: the first of five conditions that holds (README.md of this folder).

In this order: diverged (a value is NaN or Inf, or L_T > max(L_0, ln V)), committed (g_T > 0), relapsed (g > 0 at some
step), structural (δ_T < δ_0 - 0.01), kinematic. The last two, the failure modes, are named as in arXiv 2606.07559.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from phantom_dist.core.outcome import Outcome, Thresholds


def outcome(
    *,
    loss: Sequence[float],
    logit_gap: Sequence[float],
    drag: Sequence[float],
    vocabulary_size: int,
    thresholds: Thresholds,
) -> Outcome:
    """The outcome of a trial from its trace s = 0..T (loss in nats, gap in logits, drag dimensionless)."""
    finite = all(math.isfinite(value) for series in (loss, logit_gap, drag) for value in series)
    if not finite or loss[-1] > max(loss[0], math.log(vocabulary_size)):
        return Outcome.DIVERGED
    if logit_gap[-1] > 0:
        return Outcome.COMMITTED
    if any(gap > 0 for gap in logit_gap):
        return Outcome.RELAPSED
    if drag[-1] < drag[0] - thresholds.structural_drag:
        return Outcome.STRUCTURAL
    return Outcome.KINEMATIC


def silent(loss: Sequence[float], outcome: Outcome) -> bool:
    """True for a silent failure: not committed although the loss fell at every step."""
    return outcome is not Outcome.COMMITTED and len(loss) > 1 and all(b < a for a, b in pairwise(loss))


def commit_step(logit_gap: Sequence[float]) -> int | None:
    """The first step with a positive gap, or None."""
    return next((step for step, gap in enumerate(logit_gap) if gap > 0), None)
