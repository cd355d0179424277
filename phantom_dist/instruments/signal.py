"""The signal σ = (p_t - p_c)(1 - S_tc²): the part of the order parameter from the two words themselves, in [-1, 1].

It is the sum of the terms i = t and i = c of Φ, as M_t = 1 - S_tc² and M_c = -(1 - S_tc²).
"""

from __future__ import annotations

from torch import Tensor


def signal(p_target: Tensor, p_competitor: Tensor, overlap: Tensor) -> Tensor:
    """σ from the two probabilities and S_tc; any broadcastable shape, dimensionless."""
    return (p_target - p_competitor) * (1.0 - overlap.square())
