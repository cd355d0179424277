"""The softmax readout at the last position.

z_i logits, p = softmax(z), g = z_t - z_c, L = -ln p_t; ranks are by logit, 1 is the most likely token.
"""

from __future__ import annotations

import torch
from torch import Tensor

Token = int | Tensor
"""A token's id, or one for every leading axis: int64, shape (...)."""


def at(values_V: Tensor, token: Token) -> Tensor:
    """The entry of one token, or of one token for each leading axis; shape (..., V) -> (...), differentiable."""
    if isinstance(token, int):
        return values_V[..., token]
    return values_V.gather(-1, token.unsqueeze(-1)).squeeze(-1)


def probabilities(logits_V: Tensor) -> Tensor:
    """p = softmax(z) in float64; shape (..., V), dimensionless, sums to 1."""
    return torch.softmax(logits_V.double(), dim=-1)


def cross_entropy(logits_V: Tensor, target: Token) -> Tensor:
    """L = -ln p_t in nats, float64; shape (...)."""
    return -at(torch.log_softmax(logits_V.double(), dim=-1), target)


def logit_gap(logits_V: Tensor, target: Token, competitor: Token) -> Tensor:
    """g = z_t - z_c in logits; committed when positive; shape (...), differentiable."""
    return at(logits_V, target) - at(logits_V, competitor)


def rank(logits_V: Tensor, token: Token) -> Tensor:
    """1 + the number of tokens with a larger logit; shape (...), int64. Ties share the better rank."""
    return 1 + (logits_V > at(logits_V, token).unsqueeze(-1)).sum(dim=-1)
