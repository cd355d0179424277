"""The drag δ = Σ_{i not in {t, c}} p_i (S_ti² - S_ci²): the bulk's part of the order parameter, in [-1, 1].

Negative where the words that the model finds likely lean to the competitor's side.
"""

from __future__ import annotations

from torch import Tensor


def drag(p_V: Tensor, lever_V: Tensor, target: int, competitor: int) -> Tensor:
    """δ from probabilities (..., V) and the lever M (V,); shape (...), dimensionless.

    Summed over the bulk alone rather than as Φ - σ, so that Φ = σ + δ stays a test of all three.
    """
    bulk_V = lever_V.clone()
    bulk_V[..., target] = 0.0
    bulk_V[..., competitor] = 0.0
    return (p_V * bulk_V).sum(dim=-1)
