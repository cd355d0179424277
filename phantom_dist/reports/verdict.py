"""The phantom verdict: does the softmax readout make a run's jumps? One sentence, and the numbers behind it.

The paper claims that jumps persist under LoRA, whose readout matrix doesn't change, so that they arise in the softmax
readout. Our measure is the readout's share of each jump (midpoint rule): 1 under LoRA by construction, a measured
number under full fine-tuning. The threshold of one half, the larger part of the jump, is ours.
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from phantom_dist.reports.rows import Row, Rows

LARGER_PART = 0.5
"""Above this share the readout makes the larger part of a jump."""


@dataclass(frozen=True, kw_only=True)
class Jumps:
    """Under one method: how many of its trials have a jump, and the readout's share of the jumps (NaN where none)."""

    count: int
    trials: int
    lowest: float
    median: float
    highest: float
    mostly_readout: int


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """Whether the readout matrix stays unchanged in the LoRA trials."""

    trials: int
    identical: int
    steps: int
    exact: int


def jumps(rows: Rows) -> dict[str, Jumps]:
    """The trials' largest jumps, by method."""
    return {
        method: _jumps([row for row in rows.trials if row["method"] == method])
        for method in sorted({row["method"] for row in rows.trials})
    }


def _jumps(trials: list[Row]) -> Jumps:
    shares = [row["jump_readout_share"] for row in trials if row.get("jump_step") is not None]
    shares = [share for share in shares if share is not None and math.isfinite(share)]
    return Jumps(
        count=len(shares),
        trials=len(trials),
        lowest=min(shares, default=math.nan),
        median=statistics.median(shares) if shares else math.nan,
        highest=max(shares, default=math.nan),
        mostly_readout=sum(share > LARGER_PART for share in shares),
    )


def frozen(rows: Rows) -> Frozen:
    """Count LoRA trials whose readout hash is the same at every step, and their steps without a geometry change."""
    trials = [row for row in rows.trials if row["method"] == "lora" and row["steps_measured"]]
    return Frozen(
        trials=len(trials),
        identical=sum(row["readout_frozen"] for row in trials),
        steps=sum(row["steps_measured"] for row in trials),
        exact=sum(row["steps_exact"] for row in trials),
    )


def verdict(by_method: dict[str, Jumps], readout: Frozen) -> str:
    """The verdict as one sentence, with its numbers."""
    full, lora = by_method.get("full"), by_method.get("lora")
    jumped, beside = full is not None and full.count > 0, lora is not None and lora.count > 0
    same = (
        f"in {lora.count} of {lora.trials} LoRA trials, with a readout matrix that stays bit-identical in "
        f"{readout.identical} of {readout.trials}"
        if lora
        else ""
    )
    if not jumped or full is None:
        if beside:
            need = ": they need no moving readout" if readout.identical == readout.trials else ""
            return f"No jump under full fine-tuning; under LoRA jumps occur {same}{need}."
        return "No trial has a jump, so there is nothing to judge; larger learning rates reach the region of jumps."
    measured = (
        f"the readout made the larger part of {full.mostly_readout} of {full.count} jumps under full fine-tuning "
        f"(share {full.lowest:.3g} to {full.highest:.3g}, median {full.median:.3g})"
    )
    if full.mostly_readout < full.count:
        return f"Not all jumps are phantoms: {measured}" + (f", and jumps occur {same}." if beside else ".")
    if beside and readout.identical == readout.trials:
        return f"The jumps are phantoms of the readout: {measured}, and they persist {same}."
    alone = f"jumps occur {same}" if beside else "no LoRA jump with a frozen readout stands beside them"
    return f"The jumps look like phantoms of the readout: {measured}; {alone}."
