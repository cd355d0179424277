"""Readout's and geometry's shares of a change of the order parameter between two steps a and b.

ΔΦ = Σ_i (p_i^b - p_i^a)(M_i^a + M_i^b)/2  +  Σ_i (p_i^a + p_i^b)/2 (M_i^b - M_i^a)

The first sum is the readout's part (the probabilities changed), the second the geometry's (the overlaps changed). They
add up to ΔΦ exactly. This midpoint rule is not the only possible split: a share of ΔΦ can lie outside [0, 1], and the
change of p includes E's effect on the logits. With E frozen (LoRA) M is constant and the second sum is exactly 0.
"""

from __future__ import annotations

from torch import Tensor


def readout_change(
    p_before_V: Tensor, p_after_V: Tensor, lever_before_V: Tensor, lever_after_V: Tensor
) -> Tensor:
    """The readout's part of ΔΦ; shapes (..., V) -> (...), dimensionless."""
    return ((p_after_V - p_before_V) * (lever_before_V + lever_after_V) / 2).sum(dim=-1)


def geometry_change(
    p_before_V: Tensor, p_after_V: Tensor, lever_before_V: Tensor, lever_after_V: Tensor
) -> Tensor:
    """The geometry's part of ΔΦ; shapes (..., V) -> (...), dimensionless."""
    return ((p_before_V + p_after_V) / 2 * (lever_after_V - lever_before_V)).sum(dim=-1)
