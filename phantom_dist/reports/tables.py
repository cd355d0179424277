"""The numbers in the page's text: the table of critical rates, counts of outcomes, errors of first order."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phantom_dist.core.outcome import Outcome
from phantom_dist.reports.rows import Row, Rows


def number(value: Any, digits: int = 4) -> str:
    """A number with that many significant digits; a dash where it is not known."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return "–"
    if not math.isfinite(value):
        return str(value)
    plain = value == 0 or 1e-2 <= abs(value) < 1e5
    text = f"{value:#.{digits}g}" if plain else f"{value:.{digits - 1}e}"
    return text.rstrip(".").replace("-", "−").replace("e−0", "e−").replace("e+0", "e+")


def percent(value: float) -> str:
    """A fraction in percent with two significant digits."""
    return f"{float(f'{100 * value:.2g}'):g} %"


@dataclass(frozen=True, kw_only=True)
class CriticalRate:
    """A line of the table, as text; `reason` stands in for the numbers that aren't known."""

    run: str
    model: str
    context: str
    pair: str
    way: str
    prompt: str
    eta_c: str
    low: str
    high: str
    width: str
    pi_c: str
    gap_0: str
    kappa: str
    trials_used: str
    reason: str


def critical_rates(rows: Rows, prompts: Mapping[str, str]) -> list[CriticalRate]:
    """The table of critical rates in the order of the sweep."""
    return [_line(row, prompts) for row in rows.problems]


def _line(row: Row, prompts: Mapping[str, str]) -> CriticalRate:
    low, high = row.get("bracket") or (None, None)
    width = percent(high / low - 1) if low and high else "–"
    return CriticalRate(
        run=row["run"],
        model=row["model"],
        context=row["context"],
        pair=row["pair"].removeprefix(f"{row['context']}: "),
        way=row["way"],
        prompt=prompts.get(row["context"], ""),
        eta_c=number(row.get("eta_c")),
        low=number(low, 5),
        high=number(high, 5),
        width=width,
        pi_c=number(row.get("pi_c")),
        gap_0=number(row.get("gap_0")),
        kappa=number(row.get("kappa")),
        trials_used=str(row["trials_used"]) if row.get("trials_used") is not None else "–",
        reason=""
        if row.get("eta_c") is not None
        else str(row.get("reason") or "no reason was stored").replace("_", " "),
    )


def outcome_counts(rows: Rows) -> dict[str, int]:
    """How many trials ended in each outcome, in the order in which outcomes are tested."""
    counts = Counter(row["outcome"] for row in (*rows.trials, *rows.others))
    return {outcome.value: counts[outcome.value] for outcome in Outcome if counts[outcome.value]}


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Several fractions in words: how many, their median, and the largest with its problem's name."""

    count: int
    median: str
    largest: str
    where: str


def _spread(fractions: Sequence[tuple[float, str]]) -> Spread | None:
    if not fractions:
        return None
    largest, where = max(fractions)
    median = statistics.median(fraction for fraction, _ in fractions)
    return Spread(count=len(fractions), median=percent(median), largest=percent(largest), where=where)


def first_order(rows: Rows) -> dict[str, Spread]:
    """|Π_c - 1| for each way of training: how far its critical rates lie from |g_0|/(T κ)."""
    errors: dict[str, list[tuple[float, str]]] = {}
    for row in rows.found:
        if row.get("pi_c") is not None:
            errors.setdefault(row["way"], []).append((abs(row["pi_c"] - 1), row["line"]))
    return {way: spread for way, found in errors.items() if (spread := _spread(found))}


def geometry(rows: Rows) -> Spread | None:
    """Σ_s |geometry| / Σ_s (|geometry| + |readout|) of every trial under full fine-tuning."""
    sums: dict[tuple[str, str, str], tuple[float, float]] = {}
    for row in rows.changes:
        parts = (row["geometry_change"], row["readout_change"])
        if row["method"] == "full" and all(part is not None and math.isfinite(part) for part in parts):
            key = (row["run"], row["trial_id"], row["label"])
            moved, whole = sums.get(key, (0.0, 0.0))
            sums[key] = (moved + abs(parts[0]), whole + abs(parts[0]) + abs(parts[1]))
    return _spread([(moved / whole, label) for (_, _, label), (moved, whole) in sums.items() if whole])


@dataclass(frozen=True, kw_only=True)
class Jumps:
    """The trials with a jump under one method, of how many, and the readout's share of their jumps."""

    count: int
    trials: int
    lowest: float
    highest: float


def jumps(rows: Rows) -> dict[str, Jumps]:
    """What the trials' largest jumps say, by method."""
    counted = {}
    for method in sorted({row["method"] for row in rows.trials}):
        trials = [row for row in rows.trials if row["method"] == method]
        shares = [row["jump_readout_share"] for row in trials if row.get("jump_step") is not None]
        low, high = (min(shares), max(shares)) if shares else (math.nan, math.nan)
        counted[method] = Jumps(count=len(shares), trials=len(trials), lowest=low, highest=high)
    return counted


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """What the LoRA trials say about their readout matrix."""

    trials: int
    identical: int
    steps: int
    exact: int


def frozen(rows: Rows) -> Frozen:
    """LoRA trials whose readout hash is the same at every step, and their steps of no geometry change."""
    hashes: dict[tuple[str, str], set[Any]] = {}
    changes = []
    for row in rows.changes:
        if row["method"] == "lora":
            hashes.setdefault((row["run"], row["trial_id"]), set()).add(row.get("readout_hash"))
            if row["step"] > 0:
                changes.append(row["geometry_change"])
    return Frozen(
        trials=len(hashes),
        identical=sum(len(found) == 1 and None not in found for found in hashes.values()),
        steps=len(changes),
        exact=sum(change == 0 for change in changes),
    )
