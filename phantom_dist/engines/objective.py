"""The two scalars that are differentiated: the loss that is trained on, and the gap that it should close."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from phantom_dist.core.tokens import Tokens
from phantom_dist.instruments import readout
from phantom_dist.instruments.word_prompts import word_gap, word_loss


def token_loss(logits_V: Tensor, token: int) -> Tensor:
    """The cross-entropy of one token, in nats; from float32 logits (V,)."""
    return nn.functional.cross_entropy(logits_V, torch.tensor(token, device=logits_V.device))


def loss_of(logits_V: Tensor, pair: Tokens, rests_3: Tensor | None = None) -> Tensor:
    """The loss that is trained on, -ln P(target word), in nats; see `instruments.word_prompts` for both inputs."""
    return word_loss(token_loss(logits_V, pair.target), rests_3)


def gap_of(logits_V: Tensor, pair: Tokens, rests_3: Tensor | None = None) -> Tensor:
    """g, in logits; inputs as of `loss_of`."""
    return word_gap(readout.logit_gap(logits_V, pair.target, pair.competitor), rests_3)
