"""The two scalars that are differentiated: the loss that is trained on, and the gap that it should close."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from phantom_dist.core.trial import Tokens
from phantom_dist.instruments import readout


def loss_of(logits_V: Tensor, pair: Tokens) -> Tensor:
    """The cross-entropy that is trained on, in nats; from float32 logits (V,)."""
    target = torch.tensor(pair.target, device=logits_V.device)
    return nn.functional.cross_entropy(logits_V, target)


def gap_of(logits_V: Tensor, pair: Tokens) -> Tensor:
    """g, in logits."""
    return readout.logit_gap(logits_V, pair.target, pair.competitor)
