"""From a trace to its outcome: the first of five conditions that holds (README.md of this folder).

With a training set, the loss L of the first condition is the training loss: a context's own may rise while the rest is
learnt.

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
    """The outcome of a trial from its trace s = 0..T (loss in nats, gap in logits, drag dimensionless).

    With a training set `loss` is the training loss at the beginning and at the end.
    """
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


def silent_in_set(
    loss: Sequence[float], outcome: Outcome, training_first: float | None, training_last: float | None
) -> bool:
    """The same with a training set: not committed although both losses fell.

    Args:
        loss: the context's own, at each measurement; nats.
        outcome: the trial's outcome.
        training_first, training_last: the ends of the training loss, see `ends`.
    """
    if outcome is Outcome.COMMITTED or training_first is None or training_last is None:
        return False
    return loss[-1] < loss[0] and training_last < training_first


def ends(training_losses: Sequence[float]) -> tuple[float | None, float | None]:
    """Means of the training loss over the first and over the last tenth of the steps, at least one; nats.

    None without a step.
    """
    if not training_losses:
        return None, None
    tenth = max(1, len(training_losses) // 10)
    return sum(training_losses[:tenth]) / tenth, sum(training_losses[-tenth:]) / tenth


def commit_step(logit_gap: Sequence[float]) -> int | None:
    """The first step with a positive gap, or None."""
    return next((step for step, gap in enumerate(logit_gap) if gap > 0), None)
