"""The drag δ = Σ_{i not in {t, c}} p_i (S_ti² - S_ci²): the bulk's part of the order parameter, in [-1, 1].

It is negative where the likely words overlap more with the competitor than with the target.
"""

from __future__ import annotations

from torch import Tensor

from phantom_dist.instruments.readout import Token


def drag(p_V: Tensor, lever_V: Tensor, target: Token, competitor: Token) -> Tensor:
    """δ from probabilities (..., V) and the lever M (V,) or (..., V); shape (...), dimensionless.

    It sums over the bulk instead of computing Φ - σ, so that Φ = σ + δ is a test of all three.
    """
    bulk_V = lever_V.clone()
    for token in (target, competitor):
        if isinstance(token, int):
            bulk_V[..., token] = 0.0
        else:
            bulk_V.scatter_(-1, token.unsqueeze(-1), 0.0)
    return (p_V * bulk_V).sum(dim=-1)
