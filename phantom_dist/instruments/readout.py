"""The softmax readout at the last position.

z_i logits, p = softmax(z), g = z_t - z_c, L = -ln p_t; ranks are by logit, 1 is the most likely token.
"""

from __future__ import annotations

import torch
from torch import Tensor


def probabilities(logits_V: Tensor) -> Tensor:
    """p = softmax(z) in float64; shape (..., V), dimensionless, sums to 1."""
    return torch.softmax(logits_V.double(), dim=-1)


def cross_entropy(logits_V: Tensor, target: int) -> Tensor:
    """L = -ln p_t in nats, float64; shape (...)."""
    return -torch.log_softmax(logits_V.double(), dim=-1)[..., target]


def logit_gap(logits_V: Tensor, target: int, competitor: int) -> Tensor:
    """g = z_t - z_c in logits; committed when positive; shape (...), differentiable."""
    return logits_V[..., target] - logits_V[..., competitor]


def rank(logits_V: Tensor, token: int) -> Tensor:
    """1 + the number of tokens with a larger logit; shape (...), int64. Ties share the better rank."""
    return 1 + (logits_V > logits_V[..., token : token + 1]).sum(dim=-1)
