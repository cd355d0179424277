"""Which trials' steps the page holds: all of a small sweep; of a large one a sample by a rule that the page states.

The bracket's two trials of each critical rate come first, problems of all models and ways of training in turn; then
the outcomes in turn, in each the trials nearest to their η_c. A trial comes with all its steps or not at all.
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
"""Trace rows in one page; a row takes about 50 bytes."""

MEASURED = (
    "loss", "logit_gap", "order_parameter", "signal", "drag", "p_target", "p_competitor", "readout_change",
    "geometry_change",
)  # fmt: skip
"""Columns of a step."""

_CARRIED = (
    "run", "trial_id", "model", "pair", "line", "way", "method", "number", "ratio", "place", "near", "outcome",
    "learning_rate",
)  # fmt: skip


def sample(trials: Sequence[Row], most: int = MOST_STEPS) -> list[Row]:
    """The trials whose steps are kept, in the order of `trials`; `most` trace rows in all."""
    bracket = [row for row in trials if row["place"] != "other"]
    others = sorted(
        (row for row in trials if row["place"] == "other"),
        key=lambda row: abs(row["log_ratio"]) if row["log_ratio"] is not None else float("inf"),
    )
    by_problem = in_turn(_grouped(bracket, lambda row: row["number"]), lambda pair: _stratum(pair[0]))
    order = [*chain.from_iterable(by_problem), *in_turn(others, lambda row: row["outcome"])]
    chosen, held = set(), 0
    for row in order:
        held += _steps(row) + 1
        if held > most:
            break
        chosen.add((row["run"], row["trial_id"]))
    return [row for row in trials if (row["run"], row["trial_id"]) in chosen]


def in_turn(items: Iterable[Any], kind: Callable[[Any], Any]) -> list[Any]:
    """One item of each kind, then the second of each, and so on; each kind keeps its order."""
    rounds = zip_longest(*_grouped(items, kind))
    return [item for round_ in rounds for item in round_ if item is not None]


def step_rows(run: RunTables, chosen: Iterable[Row]) -> list[Row]:
    """The trace rows of the run's chosen trials, trial after trial in order of steps, with what the trial says.

    Loss and gap come as multiples of their start as well; `rest` is the probability of all other tokens.
    """
    trials = {row["trial_id"]: row for row in chosen if row["run"] == run.name}
    place = {trial: i for i, trial in enumerate(trials)}
    trial_N = np.array([place.get(t, -1) for t in run.traces.column("trial_id").to_pylist()], dtype=np.int64)
    step_N = numbers(run.traces, "step")
    order = np.lexsort((step_N, trial_N))
    order = order[trial_N[order] >= 0]
    columns = [numbers(run.traces, name)[order].tolist() for name in MEASURED]
    ids = list(trials)
    found = []
    for i, step, *values in zip(trial_N[order].tolist(), step_N[order].tolist(), *columns, strict=True):
        measured = dict(zip(MEASURED, values, strict=True))
        found.append(_step(trials[ids[i]], int(step), measured))
    return found


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
