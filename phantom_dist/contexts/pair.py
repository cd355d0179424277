"""The pair of one context on one model: its tokens, the competitor chosen where the context leaves it open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phantom_dist.contexts.near_synonym import choose_competitor
from phantom_dist.contexts.reading import Tokenizer
from phantom_dist.contexts.tokens import AUTO, competitor_filter, tokenise
from phantom_dist.core.trial import Context, Tokens

if TYPE_CHECKING:
    from torch import Tensor


def choose_pair(
    tokenizer: Tokenizer,
    context: Context,
    target: int,
    *,
    logits_V: Tensor,
    centred_overlap_V: Tensor,
    floor: float,
) -> Tokens:
    """The context's tokens; an `auto` competitor is the strongest near-synonym of the target.

    Args:
        tokenizer: the model's.
        context: what is read.
        target: its target's id (`tokens.prompt_and_target`).
        logits_V: the untouched model's, after the prompt.
        centred_overlap_V: the target's row (`instruments.overlap.centred_overlap_row`).
        floor: see `near_synonym.synonym_floor`.

    Raises:
        Refusal: as `tokens.tokenise` and `near_synonym.choose_competitor`.
    """
    rows = len(logits_V)
    competitor = None
    if context.competitor == AUTO:
        is_competitor = competitor_filter(tokenizer, context, rows=rows)
        competitor = choose_competitor(logits_V, centred_overlap_V, floor, target, is_competitor)
    return tokenise(tokenizer, context, competitor, rows=rows)
