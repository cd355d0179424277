"""What the figures share: datasets by name, the figure as a function of a run, the selected problem.

A figure's function builds a chart over named datasets. Called from outside it gets them as its data, so that a notebook
shows it; the page takes the bare chart and holds each dataset once for all figures.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import altair as alt

from phantom_dist.reports.comparison import compared
from phantom_dist.reports.predictions import GROUPS
from phantom_dist.reports.rows import AROUND, UNDER, Row, Rows, columns
from phantom_dist.reports.run_tables import RunTables
from phantom_dist.reports.theme import INK, axis_title, config

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
    "bars": ("run", "line", "model", "begun", "ended", "did", "task", "attempt", "tasks", "size"),
    "marks": ("run", "line", "model", "at", "happened", "why", "task", "attempt"),
    "failures": _STEP,
    "detail": _STEP,
    "played": _STEP,
}  # fmt: skip
"""The columns of every dataset that a figure may name.

`failures`: steps of the last failing trial under each η_c; `detail`: steps of one problem's trials around η_c;
`played`: steps of one trial.
"""


def dataset(rows: Rows, name: str, *, number: int | None = None, trial_id: str | None = None) -> list[Row]:
    """The rows of a named dataset as JSON can hold them; arguments as those of `source`."""
    return columns(source(rows, name, number=number, trial_id=trial_id), *DATASETS[name])


def source(rows: Rows, name: str, *, number: int | None = None, trial_id: str | None = None) -> Sequence[Row]:
    """The rows behind a named dataset.

    Args:
        rows: the page's.
        name: one of `DATASETS`.
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
    tables = {"problems": rows.found, "trials": rows.trials, "predictions": rows.predictions}
    return (tables | {"bars": rows.bars, "marks": rows.marks})[name]


class Figure:
    """A function of `reports.figures`: from a run to an Altair chart that holds its data, or None without data."""

    def __init__(self, draw: Callable[[Rows], Any | None]) -> None:
        self.bare = draw
        functools.update_wrapper(self, draw)

    def __call__(
        self,
        runs: Rows | RunTables | Sequence[RunTables],
        *,
        number: int | None = None,
        trial_id: str | None = None,
    ) -> Any | None:
        """The chart; `number` picks the problem of a figure about one (its row in the table of critical rates, from
        0), `trial_id` the trial that `player` plays.
        """
        rows = runs if isinstance(runs, Rows) else Rows.of(runs)
        chart = self.bare(rows)
        if chart is None:
            return None
        held = {name: dataset(rows, name, number=number, trial_id=trial_id) for name in used(chart.to_dict())}
        return chart.properties(datasets=held)


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


def finished(chart: Any) -> Any:
    """The chart with the shared configuration."""
    return chart.properties(config=config())


def tooltip(*fields: str) -> list[Any]:
    """A tooltip of these columns, by their own names; numbers with four significant digits."""
    words = {
        "run", "model", "pair", "line", "way", "outcome", "place", "part", "inside", "known", "word", "agreement",
        "did", "happened", "why", "task",
    }  # fmt: skip
    return [
        alt.Tooltip(f"{field}:N") if field in words else alt.Tooltip(f"{field}:Q", format=".4~g")
        for field in fields
    ]


def zoom(*channels: str) -> Any:
    """Zoom by the wheel with Ctrl held (without it the wheel scrolls the page) and move by dragging; twice: reset."""
    return alt.selection_interval(
        name="zoom", bind="scales", encodings=list(channels), zoom="wheel![event.ctrlKey]"
    )


def zero_line() -> Any:
    """The horizontal line at 0."""
    return (
        alt.Chart(alt.InlineData(values=[{"zero": 0}]))
        .mark_rule(color=INK, strokeDash=[4, 3], opacity=0.7, tooltip=None)
        .encode(y="zero:Q")
    )


def step_axis() -> Any:
    """The horizontal axis of optimizer steps: whole numbers, thinned out where they are many."""
    axis = alt.Axis(tickMinStep=1, format="d", grid=False, labelOverlap=True)
    return alt.X("step:Q", title=axis_title("step"), axis=axis, scale=alt.Scale(nice=False))


def in_order() -> Any:
    """The order of lines of marks: that of the table of critical rates."""
    return alt.EncodingSortField(field="number", op="min", order="ascending")


MANY_LINES = 60
"""From this many lines on a figure with a line for each problem gives way to one over all."""


def lines_of(rows: Rows) -> list[str]:
    """The horizontal lines of marks."""
    return list(dict.fromkeys(row["line"] for row in (*rows.problems, *rows.trials)))


def line_height(rows: Rows) -> Any:
    """The height of a line: closer together where there are many."""
    return alt.Step(24 if len(lines_of(rows)) <= 40 else 16)


def ways_of(rows: Rows) -> list[str]:
    """The ways of training, in order of appearance."""
    return list(dict.fromkeys(row["way"] for row in (*rows.problems, *rows.trials)))
