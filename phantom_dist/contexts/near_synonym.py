"""Which words are near-synonyms for a model: those whose centred overlap is large (README.md of `instruments`).

Pure functions of numbers. `instruments.overlap` computes the overlaps from the mean-centred, renormalised readout
matrix. The rule is this project's own. The default factor, 2.75 times the row's rms, accepts the ten pairs of the pilot
(the lowest is at 2.89) and rejects 99.7 % of random pairs in SmolLM2-135M.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from phantom_dist.core.errors import Refusal
from phantom_dist.core.outcome import Outcome, Thresholds

if TYPE_CHECKING:
    from torch import Tensor


def synonym_floor(row_rms: float, thresholds: Thresholds) -> float:
    """Smallest centred overlap of near-synonyms; `row_rms`: rms of the target's row without the target itself."""
    return thresholds.synonym_floor_rms * row_rms


def choose_competitor(
    logits_V: Tensor,
    centred_overlap_V: Tensor,
    floor: float,
    target: int,
    is_competitor: Callable[[int], bool] = lambda token: True,
) -> int:
    """The token with the largest logit among those whose centred overlap with the target reaches the floor.

    `is_competitor` tells whether a token is allowed at all (`tokens.competitor_filter`); tokens are tried in order of
    falling logit.

    Raises:
        Refusal: `refused_not_synonym` where no token qualifies.
    """
    candidates = (centred_overlap_V >= floor).nonzero().flatten().tolist()
    for token in sorted(candidates, key=lambda i: (-float(logits_V[i]), i)):
        if token != target and is_competitor(token):
            return int(token)
    raise Refusal(
        Outcome.REFUSED_NOT_SYNONYM,
        f"no word has a centred overlap of at least {floor:.3f} with the target, so `auto` finds no competitor",
    )


def check_pair(
    *,
    gap_0: float,
    centred_overlap: float,
    target: str = "target",
    competitor: str = "competitor",
) -> None:
    """Check that a pair has an overlap, and that a model still has to learn the target; messages name the words.

    Raises:
        Refusal: `refused_not_synonym` where the overlap is NaN, `refused_committed` where g_0 >= 0.
    """
    if math.isnan(centred_overlap):
        raise Refusal(
            Outcome.REFUSED_NOT_SYNONYM,
            f"{target!r} and {competitor!r} have no overlap: the readout matrix holds no direction of its own for one "
            f"of them",
        )
    if gap_0 >= 0:
        raise Refusal(
            Outcome.REFUSED_COMMITTED,
            f"the model already prefers {target!r} to {competitor!r}: logit gap {gap_0:+.3f}",
        )
