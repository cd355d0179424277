"""The named datasets of the figures: their columns and rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from phantom_dist.reports.comparison import compared
from phantom_dist.reports.predictions import GROUPS
from phantom_dist.reports.rows import AROUND, UNDER, Row, Rows, columns

_WHO = ("run", "model", "pair", "line", "way", "method", "number")
_STEP = (
    *_WHO, "trial_id", "learning_rate", "ratio", "place", "near", "outcome", "step", "progress", "loss",
    "logit_gap", "p_target", "p_competitor", "rest", "order_parameter", "signal", "drag", "readout_change",
    "geometry_change", "relative_loss", "relative_gap",
)  # fmt: skip

DATASETS: dict[str, tuple[str, ...]] = {
    "problems": (*_WHO, "eta_c", "first_order_rate", "pi_c", "gap_0", "kappa", "trials_used"),
    "trials": (
        *_WHO, "learning_rate", "ratio", "log_ratio", "outcome", "silent", "place", "near", "gap_0", "gap_final",
        "relative_final_gap", "loss_final", "pi", "jump_step", "jump_size", "jump_readout_share", "readout_sum",
        "geometry_sum",
    ),
    "predictions": (
        *_WHO, "eta_c", "predicted", "found_ratio", "residual", "low_ratio", "high_ratio", "inside", "known", *GROUPS,
    ),
    "compared": (
        "run", "model", "pair", "line", "way", "number", "eta_c", "reference_rate", "change", "low_change",
        "high_change", "agreement",
    ),
    "trainings": ("run", "model", "way", "learning_rate", "prompts", "learnt", "watched", "training_loss"),
    "defaults": ("learning_rate", "recipes"),
    "bars": ("run", "line", "model", "begun", "ended", "did", "task", "attempt", "tasks", "size"),
    "marks": ("run", "line", "model", "at", "happened", "why", "task", "attempt"),
    "failures": _STEP,
    "detail": _STEP,
    "played": _STEP,
}  # fmt: skip
"""The columns of every dataset that a figure may use.

`failures`: steps of the last failing trial under each η_c; `detail`: steps of one problem's trials around η_c;
`played`: steps of one trial.
"""


def dataset(rows: Rows, name: str, *, number: int | None = None, trial_id: str | None = None) -> list[Row]:
    """The rows of a named dataset as JSON values; the arguments are those of `source`."""
    return columns(source(rows, name, number=number, trial_id=trial_id), *DATASETS[name])


def source(rows: Rows, name: str, *, number: int | None = None, trial_id: str | None = None) -> Sequence[Row]:
    """The rows behind a named dataset.

    Args:
        rows: the rows of the page.
        name: a key of `DATASETS`.
        number: the problem of `detail`; by default `rows.opening`.
        trial_id: the trial of `played`; by default the last failure under that problem's η_c.
    """
    if name == "failures":
        return [row for row in rows.steps if row["place"] == UNDER]
    if name in ("detail", "played"):
        number = rows.opening if number is None else number
        if name == "played" and trial_id is not None:
            return [row for row in rows.steps if row["trial_id"] == trial_id]
        steps = [row for row in rows.steps if row["number"] == number]
        if name == "detail":
            return [row for row in steps if row["near"] is not None and row["near"] < AROUND]
        first = min(steps, key=lambda row: (row["place"] != UNDER, row["near"] or 0), default=None)
        return [row for row in steps if first is not None and row["trial_id"] == first["trial_id"]]
    if name == "compared":
        return compared(rows)
    tables = {"problems": rows.located, "trials": rows.trials, "predictions": rows.predictions}
    tables |= {"trainings": rows.trainings, "defaults": rows.defaults}
    return (tables | {"bars": rows.bars, "marks": rows.marks})[name]


def used(specification: Any) -> set[str]:
    """Names of the shared datasets that a specification reads."""
    if isinstance(specification, Mapping):
        data = specification.get("data")
        here = {data["name"]} & DATASETS.keys() if isinstance(data, Mapping) and "name" in data else set()
        return here.union(*map(used, specification.values()))
    if isinstance(specification, list):
        return set().union(*map(used, specification))
    return set()


def named(name: str) -> Any:
    """A reference to a dataset by its name."""
    return alt.NamedData(name=name)
