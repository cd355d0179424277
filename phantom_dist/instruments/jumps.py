"""Jumps of the order parameter: |Φ_s - Φ_{s-1}| >= 0.1 and at least half of the trial's whole range of Φ.

Both thresholds are settings (`core.outcome.Thresholds`). arXiv 2606.07559 calls such jumps phantoms of the softmax
readout; each jump's readout share lets a user check that claim on any model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from phantom_dist.core.outcome import Thresholds


@dataclass(frozen=True, kw_only=True, slots=True)
class Jump:
    """A jump between steps s-1 and s: `step` s, its size |ΔΦ| and the readout's share of ΔΦ (dimensionless)."""

    step: int
    size: float
    readout_share: float


def largest_jump(
    order_parameter: Sequence[float], readout_change: Sequence[float | None], thresholds: Thresholds
) -> Jump | None:
    """The largest jump of a trace, or None.

    Args:
        order_parameter: Φ_s for s = 0..T; NaN and Inf are never part of a jump.
        readout_change: the readout's part of Φ_s - Φ_{s-1}; None at s = 0.
        thresholds: smallest size, and smallest share of the range of Φ.
    """
    finite = [phi for phi in order_parameter if math.isfinite(phi)]
    if len(finite) < 2:
        return None
    smallest = max(thresholds.jump_size, thresholds.jump_share_of_range * (max(finite) - min(finite)))
    changes = [b - a for a, b in pairwise(order_parameter)]
    step, change = max(
        ((s, c) for s, c in enumerate(changes, start=1) if math.isfinite(c)),
        key=lambda item: abs(item[1]),
        default=(0, 0.0),
    )
    if step == 0 or abs(change) < smallest:
        return None
    readout = readout_change[step]
    assert readout is not None
    return Jump(step=step, size=abs(change), readout_share=readout / change)
