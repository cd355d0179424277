"""Words of several tokens: the prompts after which a model is read, and what its logits there say of the words.

ln P(word) = Σ_k ln p(token k | prompt, earlier tokens). So each token is read after a prompt of its own, and the gap of
two words is, for single tokens exactly z_t - z_c,

g = ln P(target word) - ln P(competitor word) = z_t - z_c + r_t - r_c,

where z are the logits at the first position where the words differ, and r the log-probabilities of what follows there.
Tokens with which both words begin cancel. The target word's loss is -ln P(target word).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from phantom_dist.core.tokens import Tokens
from phantom_dist.instruments import readout

PARTS = Tokens.LATER
"""The fields of further tokens: shared, the target's rest, the competitor's rest."""


class WordPrompts:
    """The prompts for W pairs: for each the one before the words' first difference, then those of further tokens."""

    def __init__(self, words: Sequence[Tokens]) -> None:
        further = [(number, each) for number, word in enumerate(words) for each in word.further]
        self.prompts: tuple[tuple[int, ...], ...] = (
            *(word.stem for word in words),
            *(each.prompt for _, each in further),
        )
        self._words = len(words)
        self._tokens = [each.token for _, each in further]
        self._places = [number * len(PARTS) + PARTS.index(each.part) for number, each in further]

    def split(self, logits_PV: Tensor) -> tuple[Tensor, Tensor | None]:
        """The logits where each word's tokens differ, and the log-probabilities of its further tokens.

        Args:
            logits_PV: the logits (..., P, V) after each of `prompts`.

        Returns:
            (..., W, V), and (..., W, 3), float64, in nats, summed over each of `PARTS`: None where all words are single
            tokens. Both are differentiable.
        """
        if not self._tokens:
            return logits_PV, None
        first_WV, further_FV = logits_PV.split([self._words, len(self._tokens)], dim=-2)
        tokens_F = torch.tensor(self._tokens, device=logits_PV.device).expand(further_FV.shape[:-1])
        places_F = torch.tensor(self._places, device=logits_PV.device)
        log_p_F = -readout.cross_entropy(further_FV, tokens_F)
        sums = log_p_F.new_zeros(*log_p_F.shape[:-1], self._words * len(PARTS))
        return first_WV, sums.index_add(-1, places_F, log_p_F).unflatten(-1, (self._words, len(PARTS)))


def read_word(logits_PV: Tensor, pair: Tokens) -> tuple[Tensor, Tensor | None]:
    """`WordPrompts.split` for one pair: (V,), and (3,) or None."""
    logits_1V, rests_13 = WordPrompts([pair]).split(logits_PV)
    return logits_1V[0], None if rests_13 is None else rests_13[0]


def word_loss(loss: Tensor, rests_3: Tensor | None) -> Tensor:
    """-ln P(target word) from the loss of its token at the words' first difference; nats, shape (...)."""
    return loss if rests_3 is None else loss - rests_3[..., 0] - rests_3[..., 1]


def log_odds(logits_V: Tensor, target: int, rests_3: Tensor | None) -> float:
    """ln P / (1 - P) of the target word, from float64 logits (V,) at the words' first difference and `target` there."""
    others_V = logits_V.clone()
    others_V[target] = -math.inf
    # Of the token alone; without 1 - p, which cancels at p = 1.
    odds = logits_V[target] - torch.logsumexp(others_V, 0)
    if rests_3 is None:
        return float(odds)
    log_p = float(nn.functional.logsigmoid(odds) + rests_3[..., 0] + rests_3[..., 1])
    return log_p - math.log(-math.expm1(log_p)) if log_p < 0 else math.inf


def word_gap(gap: Tensor, rests_3: Tensor | None) -> Tensor:
    """g of the words from the logit gap at their first difference; logits, shape (...)."""
    return gap if rests_3 is None else gap + rests_3[..., 1] - rests_3[..., 2]
