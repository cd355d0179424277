"""The phase map: the outcome of every trial, over η/η_c and context."""

from __future__ import annotations

import math
from typing import Any

import altair as alt

from phantom_dist.reports.figures.chart import MANY_LINES, finished, in_order, line_height, ways_of, zoom
from phantom_dist.reports.figures.datasets import named
from phantom_dist.reports.figures.figure import Drawing, Figure, Many, Section
from phantom_dist.reports.figures.outcomes import outcome_marks, outcome_shares
from phantom_dist.reports.phrases import outcomes_of
from phantom_dist.reports.rows import Rows
from phantom_dist.reports.theme import INK

_TICKS = (0.001, 0.01, 0.1, 0.5, 0.7, 0.9, 0.97, 0.99, 1.0, 1.01, 1.03, 1.1, 1.5, 3.0, 10.0, 100.0, 1000.0)


@Drawing
def phase_map(rows: Rows) -> Any | None:
    """Outcome by colour and shape over η/η_c and context, with a panel for each way of training.

    The axis is ln(η/η_c), stretched around 0 (symlog with a linear range of 1 %) so that the closing bracket is
    visible. Without any η_c the axis is η itself, logarithmic.
    """
    if not rows.trials:
        return None
    located = _located(rows)
    points = outcome_marks(
        rows,
        _ratio_axis() if located else _rate_axis(),
        alt.Y("line:N", title=None, sort=in_order(), axis=alt.Axis(grid=True)),
    )
    rule = (
        alt.Chart()
        .transform_aggregate(n="count()", groupby=["way"])
        .mark_rule(color=INK, strokeDash=[4, 3], opacity=0.7, tooltip=None)
        .encode(x=alt.datum(0))
    )
    grid = (
        alt.layer(*([rule] * located), points.add_params(zoom("x")), data=named("trials"))
        .transform_filter("isValid(datum.log_ratio)" if located else "isValid(datum.learning_rate)")
        .properties(width=345 if len(ways_of(rows)) > 1 else 720, height=line_height(rows))
        .facet(facet=alt.Facet("way:N", title=None), columns=2)
    )
    return finished(grid)


@Drawing
def phase_shares(rows: Rows) -> Any | None:
    """The same for many problems: the number of trials of each outcome within ranges of η/η_c."""
    if not rows.trials:
        return None
    located = _located(rows)
    field, title = ("log_ratio", "learning rate η / η_c") if located else ("learning_rate", "learning rate η")
    grid = (
        outcome_shares(rows, field, title, by=["way"])
        .properties(data=named("trials"))
        .transform_filter(f"isValid(datum.{field})")
        .facet(facet=alt.Facet("way:N", title=None), columns=2)
    )
    return finished(grid)


def _located(rows: Rows) -> bool:
    return any(row["ratio"] for row in rows.trials)


def _rate_axis() -> Any:
    return alt.X("learning_rate:Q", title="learning rate η", scale=alt.Scale(type="log"))


def _ratio_axis() -> Any:
    labels = "datum.value === 0 ? '1' : format(exp(datum.value), '.3~r')"
    return alt.X(
        "log_ratio:Q",
        title="learning rate η / η_c",
        scale=alt.Scale(type="symlog", constant=0.01, nice=False, padding=14),
        axis=alt.Axis(values=[math.log(ratio) for ratio in _TICKS], labelExpr=labels, labelOverlap=True),
    )


def _alt_text(rows: Rows) -> str:
    if not _located(rows):
        return (
            f"{outcomes_of(rows.trials)}; no critical rate is known, so the axis is the learning rate itself."
        )
    below = [row for row in rows.trials if row["ratio"] and row["ratio"] < 1]
    above = [row for row in rows.trials if row["ratio"] and row["ratio"] > 1]
    return f"Below η_c: {outcomes_of(below)}. Above η_c: {outcomes_of(above)}."


PHASE_MAP = Figure(
    name="phase-map",
    section=Section.PHASE_MAP,
    title="How each trial ended",
    caption="Each mark is a trial; the axis is its learning rate in units of its own η<sub>c</sub> (logarithmic, "
    "stretched around 1 so that the closing bracket is visible). A clean boundary at the dashed line means that a "
    "single number, η<sub>c</sub>, separates failure from commitment.",
    draw=phase_map,
    alt_text=_alt_text,
    many=Many(
        draw=phase_shares,
        dataset="trials",
        by="line",
        limit=MANY_LINES,
        note="With this many problems each box counts the trials of one outcome in a range of η/η_c.",
    ),
)
