"""The critical rates of a run, from what it stored: rows of `probes/` and `trials/`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from phantom_dist.core.outcome import Outcome
from phantom_dist.core.probe_result import Measured
from phantom_dist.refinement.curve import Curve, Point, curve
from phantom_dist.refinement.root_search import NoRoot, bracket, next_step
from phantom_dist.spec import SweepSpec, expand, tolerance_of

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


def critical_rates(probes: Iterable[Row], trials: Iterable[Row], tolerance: float | None) -> list[Row]:
    """One entry per problem that was probed, in order of its name.

    Args:
        probes: rows of `probes/`.
        trials: rows of `trials/`.
        tolerance: of the search; None for a sweep over given learning rates, where any bracket counts.
    """
    by_problem: dict[str, list[Row]] = {}
    for row in trials:
        by_problem.setdefault(row["problem"], []).append(row)
    entries = [_entry(probe, by_problem.get(probe["problem"], []), tolerance) for probe in probes]
    return sorted(entries, key=_order)


def critical_rates_of(specs: Sequence[SweepSpec], probes: Iterable[Row], trials: Sequence[Row]) -> list[Row]:
    """Those of one or more sweeps that are stored together, each problem by its own sweep's tolerance.

    A problem of several sweeps, or of none, goes by the first that asks for it, or the first of all.
    """
    asked: dict[str, float | None] = {}
    for spec in specs:
        for problem in expand(spec):
            asked.setdefault(problem.key, tolerance_of(spec))
    apart: dict[float | None, list[Row]] = {}
    for probe in probes:
        apart.setdefault(asked.get(probe["problem"], tolerance_of(specs[0])), []).append(probe)
    entries = [e for tolerance, some in apart.items() for e in critical_rates(some, trials, tolerance)]
    return sorted(entries, key=_order)


def _order(entry: Row) -> tuple[str, ...]:
    return tuple(str(entry[key]) for key in WHICH)


def _entry(probe: Row, trials: Sequence[Row], tolerance: float | None) -> Row:
    trained = [r for r in trials if Outcome(r["outcome"]).trained]
    measured = probe["kappa"] is not None
    entry = {key: probe[key] for key in ("problem", *WHICH)} | {
        "eta_c": None,
        "bracket": None,
        "trials_used": len(trained),
        "trial_steps_used": sum(r["steps_taken"] for r in trained) + (_probe_steps(probe) if measured else 0),
        "gap_0": probe["gap_0"],
        "kappa": probe["kappa"],
        "pi_c": None,
        "reason": None,
    }
    if not measured:
        return entry | {"reason": probe["refusal"]}
    slope_0 = probe["effective_steps"] * probe["kappa"]
    known = curve(probe["gap_0"], slope_0, points_of(trials))
    found = bracket(known)
    if found is not None and (tolerance is None or found.width <= tolerance):
        pi_c = found.root * slope_0 / abs(probe["gap_0"])
        return entry | {"eta_c": found.root, "bracket": [found.low, found.high], "pi_c": pi_c}
    return entry | {"reason": _reason(known, trials, tolerance)}


def _reason(known: Curve, trials: Sequence[Row], tolerance: float | None) -> str:
    if tolerance is None:
        return "no_crossing_among_the_learning_rates"
    step = next_step(known, tolerance)
    if isinstance(step, NoRoot):
        return step.reason
    failed = [r["outcome"] for r in trials if not Outcome(r["outcome"]).trained]
    return str(failed[0]) if failed else "search_not_finished"


def _probe_steps(probe: Row) -> float:
    """Trial-steps of the probe; runs of before this was stored probed κ alone."""
    known: float | None = probe["probe_trial_steps"]
    return Measured.PROBE_STEPS if known is None else known


def _number(value: float | None) -> float:
    return math.nan if value is None else value
