"""Several runs: critical rates against those of the first, and outcomes side by side over the same learning rates."""

from __future__ import annotations

from typing import Any

import altair as alt

from phantom_dist.reports.comparison import compared
from phantom_dist.reports.figures.chart import Figure, finished, in_order, named, tooltip, ways_of, zoom
from phantom_dist.reports.figures.phase_map import outcome_marks, outcome_shares
from phantom_dist.reports.rows import Rows
from phantom_dist.reports.theme import INK, way_scales


@Figure
def rates_compared(rows: Rows) -> Any | None:
    """η_c over that of the first run for every problem both have, with the range that the brackets allow."""
    chart = _ratios(rows, alt.Y("line:N", title=None, sort=in_order(), axis=alt.Axis(grid=True)), 80)
    return None if chart is None else finished(chart.facet(facet=alt.Facet("way:N", title=None), columns=2))


@Figure
def rates_compared_many(rows: Rows) -> Any | None:
    """The same with one line for each way of training: for sweeps of many problems."""
    chart = _ratios(rows, alt.Y("way:N", title=None, axis=alt.Axis(grid=True)), 30)
    return None if chart is None else finished(chart)


def _ratios(rows: Rows, line: Any, size: int) -> Any | None:
    pairs = [row for row in compared(rows) if row["change"] is not None]
    if not pairs:
        return None
    runs = list(dict.fromkeys(row["run"] for row in pairs))
    colours, shapes = way_scales(runs)
    x = alt.X(
        "change:Q",
        title="η_c / η_c of the first run",
        scale=alt.Scale(type="log", nice=False, padding=14),
        axis=alt.Axis(format=".4~g", labelOverlap=True, grid=False),
    )
    base = alt.Chart()
    bars = base.mark_rule(color=INK, opacity=0.4, strokeWidth=2, tooltip=None).encode(
        x=alt.X("low_change:Q", title="η_c / η_c of the first run"), x2="high_change:Q", y=line
    )
    points = base.mark_point(filled=True, size=size, opacity=0.85).encode(
        x=x,
        y=line,
        color=alt.Color("run:N", scale=colours),
        shape=alt.Shape("run:N", scale=shapes),
        tooltip=tooltip("line", "way", "run", "eta_c", "reference_rate", "change", "agreement"),
    )
    one = (
        base.transform_aggregate(n="count()", groupby=["way"])
        .mark_rule(color=INK, strokeDash=[4, 3], opacity=0.7, tooltip=None)
        .encode(x=alt.XDatum(1))
    )
    return (
        alt.layer(bars, one, points.add_params(zoom("x")), data=named("compared"))
        .transform_filter("isValid(datum.change)")
        .properties(width=330 if len(ways_of(rows)) > 1 else 720, height=alt.Step(22))
    )


@Figure
def side_by_side(rows: Rows) -> Any | None:
    """How trials ended over the learning rate itself, a panel for each run, with the same axes."""
    if not rows.several_runs or not rows.trials:
        return None
    marks = outcome_marks(
        rows, _rate(), alt.Y("pair:N", title=None, sort=in_order(), axis=alt.Axis(grid=True))
    )
    return _panels(rows, marks.add_params(zoom("x")).properties(width=330, height=alt.Step(18)))


@Figure
def side_by_side_many(rows: Rows) -> Any | None:
    """The same with a line for each outcome and the number of trials by colour depth and in words."""
    if not rows.several_runs or not rows.trials:
        return None
    return _panels(rows, outcome_shares(rows, "learning_rate", "learning rate η", by=["run", "method"]))


def _rate() -> Any:
    scale = alt.Scale(type="log", nice=False, padding=10)
    axis = alt.Axis(format=".0e", tickCount=5, labelOverlap=True, grid=False)
    return alt.X("learning_rate:Q", title="learning rate η", scale=scale, axis=axis)


def _panels(rows: Rows, chart: Any) -> Any:
    runs = list(dict.fromkeys(row["run"] for row in rows.trials))
    return finished(
        chart.properties(data=named("trials"))
        .transform_filter("isValid(datum.learning_rate)")
        .facet(column=alt.Column("run:N", title=None, sort=runs), row=alt.Row("method:N", title=None))
    )
