"""Effective steps T and the dimensionless rate Π = η T κ / |g_0| (README.md of this folder).

To first order a trial commits when Π = 1.
"""

from __future__ import annotations

from typing import assert_never

from phantom_dist.core.schedule import Schedule
from phantom_dist.core.trial import Optimizer


def built_up(step: int, optimizer: Optimizer) -> float:
    """Step s ≥ 1 as a multiple of the first direction u, for a constant gradient and without weight decay.

    SGD: (1 - μ^s)/(1 - μ), as momentum μ (dampening 0) builds up. AdamW: 1, as its moments are bias-corrected.
    """
    match optimizer.name:
        case "sgd":
            momentum = optimizer.momentum
            return 1.0 if momentum == 0 else (1 - momentum**step) / (1 - momentum)
        case "adamw":
            return 1.0
        case _:
            assert_never(optimizer.name)


def effective_steps(steps: int, schedule: Schedule, optimizer: Optimizer) -> float:
    """T: the number of full steps along u that the trial amounts to, for a constant gradient; dimensionless.

    Σ_s (η_s/η) b_s with b_s as in `built_up`.
    """
    factors = enumerate(schedule.factors(steps), start=1)
    return sum(factor * built_up(step, optimizer) for step, factor in factors)


def dimensionless_rate(learning_rate: float, effective_steps: float, kappa: float, gap_0: float) -> float:
    """Π = η T κ / |g_0|, dimensionless; 1 where first order predicts the commitment. NaN if g_0 = 0."""
    return learning_rate * effective_steps * kappa / abs(gap_0) if gap_0 else float("nan")
