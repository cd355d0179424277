"""The tokens of one context on one model, including the choice of an `auto` competitor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phantom_dist.contexts.near_synonym import choose_competitor
from phantom_dist.contexts.reading import Tokenizer
from phantom_dist.contexts.tokens import AUTO, competitor_filter, tokenise
from phantom_dist.core.tokens import Tokens
from phantom_dist.core.trial import Context

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
    """The context's tokens; for `auto`, the competitor is the near-synonym of the target with the largest logit.

    Args:
        tokenizer: the model's tokenizer.
        context: the context.
        target: token id of its target (`tokens.prompts_and_target`).
        logits_V: the untouched model's logits after the prompt.
        centred_overlap_V: the target's row of overlaps (`instruments.overlap.centred_overlap_row`).
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
