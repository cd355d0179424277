"""What each figure shows, in words: for screen readers, for paper, and for whoever would rather read."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable

from phantom_dist.reports.comparison import agreements, changed_outcomes, compared, twins
from phantom_dist.reports.rows import AROUND, OVER, UNDER, Row, Rows
from phantom_dist.reports.tables import number, percent
from phantom_dist.reports.timeline_rows import counted, lines


def alternative(name: str, rows: Rows) -> str:
    """A figure's text alternative, about everything that the page holds.

    Args:
        name: as in `page.FIGURES`.
        rows: the page's.
    """
    return _WORDS[name](rows)


def _silent_failure(rows: Rows) -> str:
    number_ = rows.opening
    near = [r for r in rows.trials if r["number"] == number_ and r["near"] is not None and r["near"] < AROUND]
    under = next((r for r in near if r["place"] == UNDER), None)
    said = f"For {near[0]['label']}: lines of {_count(near, 'trial')} over the steps."
    if under is None:
        return said
    return (
        f"{said} At {number(under['ratio'], 3)} of η_c the loss goes from {number(under['loss_0'], 3)} to "
        f"{number(under['loss_final'], 3)} nat while the gap ends at {number(under['gap_final'], 3)} logits, "
        f"{'still under' if under['gap_final'] <= 0 else 'over'} zero: {under['outcome']}."
    )


def _player(rows: Rows) -> str:
    return (
        "A triangle with a corner each for the target, the competitor and all other tokens, in which a point moves "
        "from step to step; bars of the three probabilities; lines of the order parameter, signal, drag and logit gap. "
        "The sentence above it says the same numbers for the step that is shown."
    )


def _every_failure(rows: Rows) -> str:
    last: dict[str, Row] = {row["trial_id"]: row for row in rows.steps if row["place"] == UNDER}
    losses = [r["relative_loss"] for r in last.values() if _finite(r["relative_loss"])]
    gaps = [r["relative_gap"] for r in last.values() if _finite(r["relative_gap"])]
    every = sum(row["place"] == UNDER for row in rows.trials)
    held = "" if len(last) == every else f" of {every}, those whose steps the page holds,"
    return (
        f"In {_count(list(last), 'failing trial')}{held} the loss ends at {_range(losses)} of its start, the gap at "
        f"{_range(gaps)} of its initial size, where 0 would be the crossing."
    )


def _phase_map(rows: Rows) -> str:
    if not any(row["ratio"] for row in rows.trials):
        return (
            f"{_outcomes(rows.trials)}; no critical rate is known, so the axis is the learning rate itself."
        )
    below = [row for row in rows.trials if row["ratio"] and row["ratio"] < 1]
    above = [row for row in rows.trials if row["ratio"] and row["ratio"] > 1]
    return f"Below η_c: {_outcomes(below)}. Above η_c: {_outcomes(above)}."


def _jumps(rows: Rows) -> str:
    parts = []
    for method in sorted({row["method"] for row in rows.trials}):
        found = [r for r in rows.trials if r["method"] == method and r.get("jump_step") is not None]
        shares = [r["jump_readout_share"] for r in found if _finite(r["jump_readout_share"])]
        sizes = [r["jump_size"] for r in found if _finite(r["jump_size"])]
        parts.append(
            f"{method}: {_count(found, 'jump')} of size {_range(sizes)}, the readout's share {_range(shares)}"
            if sizes
            else f"{method}: no jump"
        )
    return "; ".join(parts) + "."


def _shares_in_sum(rows: Rows) -> str:
    under = [row for row in rows.trials if row["place"] == UNDER]
    parts = []
    for method in sorted({row["method"] for row in under}):
        some = [row for row in under if row["method"] == method]
        readout, geometry = ([r[name] for r in some] for name in ("readout_sum", "geometry_sum"))
        parts.append(f"{method}: readout's part {_range(readout)}, geometry's part {_range(geometry)}")
    return f"In {_count(under, 'last failure')}, {'; '.join(parts)}."


def _shares_by_step(rows: Rows) -> str:
    bracket = [r for r in rows.trials if r["number"] == rows.opening and r["place"] in (UNDER, OVER)]
    parts = [
        f"{row['place']}, readout {number(row['readout_sum'], 3)} and geometry {number(row['geometry_sum'], 3)} in sum"
        for row in bracket
    ]
    return f"For {bracket[0]['label']}: {'; '.join(parts)}." if bracket else "No bracket is drawn."


def _first_order(rows: Rows) -> str:
    values = [row["pi_c"] for row in rows.found if row.get("pi_c") is not None]
    near = sum(abs(value - 1) <= 0.1 for value in values)
    return f"Π_c: {_range(values)}; {near} of {len(values)} lie within 10 % of 1, where first order is exact."


def _collapse(rows: Rows) -> str:
    drawn = [row for row in rows.trials if row["ratio"] and _finite(row["relative_final_gap"])]
    right = sum((row["relative_final_gap"] > 0) == (row["ratio"] > 1) for row in drawn)
    return (
        f"Of {_count(drawn, 'trial')}, {right} end with a gap over zero exactly where their rate is over η_c; the "
        "others lie beyond the region in which the gap still closes with the rate."
        if right < len(drawn)
        else f"All {_count(drawn, 'trial')} end with a gap over zero exactly where their rate is over η_c."
    )


def _predicted(rows: Rows) -> str:
    errors = [abs(row["found_ratio"] - 1) for row in rows.predictions]
    inside = sum(row["inside"] == "inside its interval" for row in rows.predictions)
    return (
        f"{_count(rows.predictions, 'prediction')}: off by {percent(statistics.median(errors))} in the median and "
        f"{percent(max(errors))} at most; {inside} measured rates lie inside their interval."
    )


def _residuals(rows: Rows) -> str:
    values = [row["residual"] for row in rows.predictions]
    return f"ln(measured / predicted): {_range(values)}, with median {number(statistics.median(values), 2)}."


def _rates_compared(rows: Rows) -> str:
    pairs = compared(rows)
    changes = [row["change"] for row in pairs if row["change"] is not None]
    said = ", ".join(f"{count} {name}" for name, count in agreements(pairs).items())
    return (
        f"{_count(pairs, 'problem')} of later runs matched with the first: {said}; "
        f"η_c is {_range(changes)} times the first run's."
    )


def _side_by_side(rows: Rows) -> str:
    runs = dict.fromkeys(row["run"] for row in rows.trials)
    counts = [f"{run}: {_outcomes([r for r in rows.trials if r['run'] == run])}" for run in runs]
    changed = f"{len(changed_outcomes(rows))} of {twins(rows)}"
    return f"{'; '.join(counts)}. {changed} trials with a twin in the first run ended otherwise."


def _timeline(rows: Rows) -> str:
    tasks = Counter[str]()
    for row in rows.bars:
        tasks[row["did"]] += row["tasks"]
    did = ", ".join(f"{count} {name}" for name, count in tasks.most_common())
    happened = ", ".join(f"{count} {name}" for name, count in counted(rows.marks).items()) or "nothing"
    length = max(row["ended"] for row in rows.bars)
    again = f" The driver was started again {len(rows.restarts)} times." if rows.restarts else ""
    workers = _count(lines(rows.bars), "worker")
    return (
        f"Lines of {workers} over {number(length, 3)} {rows.time_unit}; what tasks did: {did}. "
        f"What went wrong or was mended: {happened}.{again}"
    )


_WORDS: dict[str, Callable[[Rows], str]] = {
    "silent-failure": _silent_failure,
    "player": _player,
    "every-failure": _every_failure,
    "phase-map": _phase_map,
    "jumps": _jumps,
    "shares-in-sum": _shares_in_sum,
    "shares-by-step": _shares_by_step,
    "first-order": _first_order,
    "collapse": _collapse,
    "predicted": _predicted,
    "residuals": _residuals,
    "rates-compared": _rates_compared,
    "side-by-side": _side_by_side,
    "timeline": _timeline,
}


def _outcomes(trials: Iterable[Row]) -> str:
    counts = Counter(row["outcome"] for row in trials)
    return ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()) or "no trial"


def _range(values: list[float]) -> str:
    if not values:
        return "unknown"
    low, high = number(min(values), 3), number(max(values), 3)
    return low if low == high else f"{low} to {high}"


def _count(some: list[Row] | list[str], word: str) -> str:
    return f"{len(some)} {word}{'' if len(some) == 1 else 's'}"


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
