"""Numbers as text for the page: the table of critical rates, counts of outcomes, errors of first order and the law."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phantom_dist.core.outcome import Outcome
from phantom_dist.reports.predictions import CALIBRATED, HELD_OUT, NEW, OUTSIDE
from phantom_dist.reports.rows import Row, Rows


def number(value: Any, digits: int = 4) -> str:
    """A number with this many significant digits; a dash where it is unknown."""
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
class RateLine:
    """A line of the table of critical rates, as text; without η_c, `reason` replaces its numbers."""

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
    number: int


def critical_rates(rows: Rows, prompts: Mapping[str, str]) -> list[RateLine]:
    """The table of critical rates in the order of the sweep."""
    return [_line(row, prompts) for row in rows.problems]


def _line(row: Row, prompts: Mapping[str, str]) -> RateLine:
    low, high = row.get("bracket") or (None, None)
    width = percent(high / low - 1) if low and high else "–"
    return RateLine(
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
        number=row["number"],
        trials_used=str(row["trials_used"]) if row.get("trials_used") is not None else "–",
        reason=""
        if row.get("eta_c") is not None
        else str(row.get("reason") or "no reason was stored").replace("_", " "),
    )


@dataclass(frozen=True, kw_only=True)
class ComparedLine:
    """A problem in a later run beside the same one in the first, as text; a reason replaces a missing rate."""

    run: str
    line: str
    way: str
    first: str
    later: str
    change: str
    agreement: str


def compared_line(row: Row) -> ComparedLine:
    """A line of the table that compares runs, from a row of `comparison.compared`."""

    def rate(value: float | None, reason: Any) -> str:
        return (
            number(value)
            if value is not None
            else f"none: {reason or 'no reason was stored'}".replace("_", " ")
        )

    change = row["change"]
    return ComparedLine(
        run=row["run"],
        line=row["line"],
        way=row["way"],
        first=rate(row["reference_rate"], row["reference_reason"]),
        later=rate(row.get("eta_c"), row.get("reason")),
        change="–" if change is None else f"{'+' if change >= 1 else '−'}{percent(abs(change - 1))}",
        agreement=row["agreement"],
    )


def outcome_counts(rows: Rows) -> dict[str, int]:
    """The number of trials of each outcome, in the order in which outcomes are tested."""
    counts = Counter(row["outcome"] for row in (*rows.trials, *rows.others))
    return {outcome.value: counts[outcome.value] for outcome in Outcome if counts[outcome.value]}


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Several fractions as text: their count, median, and the largest with its problem's name."""

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
    """|Π_c - 1| for each way of training: the relative error of first order, |g_0|/(T κ)."""
    errors: dict[str, list[tuple[float, str]]] = {}
    for row in rows.located:
        if row.get("first_order_rate") is not None:
            errors.setdefault(row["way"], []).append((abs(row["pi_c"] - 1), row["line"]))
    return {way: spread for way, some in errors.items() if (spread := _spread(some))}


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """The law's errors on the critical rates of one way of training, as text."""

    errors: Spread
    inside: int
    intervals: int
    known: str
    law: str


_KNOWN = {
    HELD_OUT: "predicted with their architecture left out",
    CALIBRATED: "of a model that is in the calibration",
    NEW: "of a model that is not in the calibration",
    OUTSIDE: "outside the law's domain (intervals doubled, no guarantee)",
}


def law(rows: Rows) -> dict[str, Predicted]:
    """|measured / predicted - 1| for each way of training, and how many intervals contain the measured rate."""
    by_way: dict[str, list[Row]] = {}
    for row in rows.predictions:
        by_way.setdefault(row["way"], []).append(row)
    predicted = {}
    for way, some in by_way.items():
        errors = _spread([(abs(row["found_ratio"] - 1), row["line"]) for row in some])
        assert errors is not None
        counts = Counter(row["known"] for row in some)
        predicted[way] = Predicted(
            errors=errors,
            inside=sum(row["inside"] == "inside its interval" for row in some),
            intervals=sum(row["low_ratio"] is not None for row in some),
            known=", ".join(f"{count} {_KNOWN[known]}" for known, count in counts.items()),
            law=", ".join(dict.fromkeys(row["law"] for row in some)),
        )
    return predicted


def geometry(rows: Rows) -> Spread | None:
    """The spread of Σ_s |geometry| / Σ_s (|geometry| + |readout|) over the trials under full fine-tuning."""
    return _spread(
        [
            (row["geometry_part"], row["label"])
            for row in rows.trials
            if row["method"] == "full" and row["geometry_part"] is not None
        ]
    )
