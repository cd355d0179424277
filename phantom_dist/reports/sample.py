"""Chooses the trials whose steps the page contains: all of a small sweep, a sample of a large one.

The sample takes first the bracket's two trials of each critical rate, alternating between models and ways of training;
then other trials, alternating between outcomes, in each the nearest to their η_c first. A trial is taken with all its
steps or not at all. The page states this rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import chain, zip_longest
from typing import Any

import numpy as np

from phantom_dist.reports.changes import numbers
from phantom_dist.reports.run_tables import RunTables

Row = dict[str, Any]

MOST_STEPS = 24_000
"""How many trace rows one page has at most; a row takes about 50 bytes."""

MEASURED = (
    "loss", "logit_gap", "order_parameter", "signal", "drag", "p_target", "p_competitor", "readout_change",
    "geometry_change",
)  # fmt: skip
"""Measured columns of a step."""

_CARRIED = (
    "run", "trial_id", "model", "pair", "line", "way", "method", "number", "ratio", "place", "near", "outcome",
    "learning_rate",
)  # fmt: skip


def sample(trials: Sequence[Row], most: int = MOST_STEPS) -> list[Row]:
    """The trials whose steps the page contains, in the order of `trials`; at most `most` trace rows together."""
    bracket = [row for row in trials if row["place"] != "other"]
    others = sorted(
        (row for row in trials if row["place"] == "other"),
        key=lambda row: abs(row["log_ratio"]) if row["log_ratio"] is not None else float("inf"),
    )
    by_problem = in_turn(_grouped(bracket, lambda row: row["number"]), lambda pair: _stratum(pair[0]))
    order = [*chain.from_iterable(by_problem), *in_turn(others, lambda row: row["outcome"])]
    chosen, trace_rows = set(), 0
    for row in order:
        trace_rows += _steps(row) + 1
        if trace_rows > most:
            break
        chosen.add((row["run"], row["trial_id"]))
    return [row for row in trials if (row["run"], row["trial_id"]) in chosen]


def in_turn(items: Iterable[Any], kind: Callable[[Any], Any]) -> list[Any]:
    """The first item of each kind, then the second of each, and so on; within a kind the order stays."""
    rounds = zip_longest(*_grouped(items, kind))
    return [item for round_ in rounds for item in round_ if item is not None]


def step_rows(run: RunTables, chosen: Iterable[Row]) -> list[Row]:
    """The trace rows of the run's chosen trials, by trial and step, with columns of the trial.

    Adds loss and gap as multiples of their initial size, and `rest`, the probability of all other tokens.
    """
    trials = {row["trial_id"]: row for row in chosen if row["run"] == run.name}
    place = {trial: i for i, trial in enumerate(trials)}
    trial_N = np.array([place.get(t, -1) for t in run.traces.column("trial_id").to_pylist()], dtype=np.int64)
    step_N = numbers(run.traces, "step")
    order = np.lexsort((step_N, trial_N))
    order = order[trial_N[order] >= 0]
    columns = [numbers(run.traces, name)[order].tolist() for name in MEASURED]
    ids = list(trials)
    rows = []
    for i, step, *values in zip(trial_N[order].tolist(), step_N[order].tolist(), *columns, strict=True):
        measured = dict(zip(MEASURED, values, strict=True))
        rows.append(_step(trials[ids[i]], int(step), measured))
    return rows


def _step(trial: Row, step: int, measured: Row) -> Row:
    loss_0, gap_0 = trial.get("loss_0"), abs(trial.get("gap_0") or 0)
    return {name: trial[name] for name in _CARRIED} | measured | {
        "step": step,
        "progress": step / trial["steps"],
        "rest": 1 - measured["p_target"] - measured["p_competitor"],
        "relative_loss": measured["loss"] / loss_0 if loss_0 else None,
        "relative_gap": measured["logit_gap"] / gap_0 if gap_0 else None,
    }  # fmt: skip


def _steps(row: Row) -> int:
    taken = row.get("steps_taken")
    return int(row["steps"] if taken is None else taken)


def _stratum(row: Row) -> tuple[Any, ...]:
    return row["run"], row["model"], row["way"]


def _grouped(items: Iterable[Any], kind: Callable[[Any], Any]) -> list[list[Any]]:
    groups: dict[Any, list[Any]] = {}
    for item in items:
        groups.setdefault(kind(item), []).append(item)
    return list(groups.values())
