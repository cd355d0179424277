"""The critical rates of a run, from its stored trials (rows of `trials/`): the contract's `critical_rates`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from phantom_dist.core.measurement import Origin
from phantom_dist.core.outcome import Outcome
from phantom_dist.refinement.curve import Curve, Point, curve
from phantom_dist.refinement.root_search import NoRoot, bracket, next_step

Row = dict[str, Any]

WHICH = (
    "model", "architecture", "context", "target", "competitor", "method", "optimizer", "momentum", "weight_decay",
    "schedule", "lora_rank", "lora_alpha", "lora_targets", "steps", "seed", "precision",
)  # fmt: skip
"""The keys that say which curve an entry is about."""


def points_of(rows: Iterable[Row]) -> list[Point]:
    """The trained trials among a problem's rows as points of its curve."""
    return [
        Point(learning_rate=r["learning_rate"], gap=_number(r["gap_final"]), outcome=Outcome(r["outcome"]))
        for r in rows
        if Outcome(r["outcome"]).trained
    ]


def curve_of(rows: Sequence[Row]) -> Curve | None:
    """The curve that a problem's trial rows lie on; None if nothing was measured (the pair was refused)."""
    first = rows[0]
    if first["gap_0"] is None or first["kappa"] is None:
        return None
    return curve(first["gap_0"], first["effective_steps"] * first["kappa"], points_of(rows))


def critical_rates(trials: Iterable[Row], tolerance: float | None) -> list[Row]:
    """One entry per problem, in order of its name.

    Args:
        trials: rows of `trials/`.
        tolerance: of the search; None for a sweep over given learning rates, where any bracket counts.
    """
    by_problem: dict[str, list[Row]] = {}
    for row in trials:
        by_problem.setdefault(row["problem"], []).append(row)
    entries = [_entry(rows, tolerance) for rows in by_problem.values()]
    return sorted(entries, key=lambda e: tuple(str(e[key]) for key in WHICH))


def _entry(rows: Sequence[Row], tolerance: float | None) -> Row:
    first = rows[0]
    trained = [r for r in rows if Outcome(r["outcome"]).trained]
    steps = sum(r["steps_taken"] for r in trained)
    known = curve_of(rows)
    found = None if known is None else bracket(known)
    kappa, gap_0 = first["kappa"], first["gap_0"]
    entry = {key: first[key] for key in ("problem", *WHICH)} | {
        "eta_c": None,
        "bracket": None,
        "trials_used": len(trained),
        "trial_steps_used": steps + Origin.PROBE_STEPS,
        "gap_0": gap_0,
        "kappa": kappa,
        "pi_c": None,
        "reason": None,
    }
    if found is not None and (tolerance is None or found.width <= tolerance):
        pi_c = found.root * first["effective_steps"] * kappa / abs(gap_0)
        return entry | {"eta_c": found.root, "bracket": [found.low, found.high], "pi_c": pi_c}
    return entry | {"reason": _reason(rows, known, tolerance)}


def _reason(rows: Sequence[Row], known: Curve | None, tolerance: float | None) -> str:
    failed = [r["outcome"] for r in rows if not Outcome(r["outcome"]).trained]
    if known is None or (failed and not known.points):
        return str(failed[0]) if failed else "not_measured"
    if tolerance is None:
        return "no_crossing_among_the_learning_rates"
    step = next_step(known, tolerance)
    if isinstance(step, NoRoot):
        return step.reason
    return str(failed[0]) if failed else "search_not_finished"


def _number(value: float | None) -> float:
    return math.nan if value is None else value
