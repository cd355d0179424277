"""The order parameter Φ = ê_tᵀ ρ ê_t - ê_cᵀ ρ ê_c, with the density matrix ρ = Σ_i p_i ê_i ê_iᵀ.

ρ has trace 1 and is positive semidefinite, so Φ lies in [-1, 1]. ρ itself is never computed: with the lever
M_i = S_ti² - S_ci², Φ = Σ_i p_i M_i. Φ is exactly signal + drag.
"""

from __future__ import annotations

from torch import Tensor


def lever(overlap_rows_kV: Tensor) -> Tensor:
    """M_i = S_ti² - S_ci² from the rows of target and competitor, shape (..., 2, V) -> (..., V); in [-1, 1]."""
    return overlap_rows_kV[..., 0, :].square() - overlap_rows_kV[..., 1, :].square()


def order_parameter(p_V: Tensor, lever_V: Tensor) -> Tensor:
    """Φ = Σ_i p_i M_i; shape (..., V) -> (...), dimensionless."""
    return (p_V * lever_V).sum(dim=-1)
