"""Several runs: critical rates relative to those of the first."""

from __future__ import annotations

from typing import Any

import altair as alt

from phantom_dist.reports.comparison import agreements, compared
from phantom_dist.reports.figures.chart import MANY_LINES, finished, in_order, tooltip, ways_of, zoom
from phantom_dist.reports.figures.datasets import named
from phantom_dist.reports.figures.figure import Drawing, Figure, Many, Section
from phantom_dist.reports.phrases import count_of, value_range
from phantom_dist.reports.rows import Rows
from phantom_dist.reports.theme import INK, way_scales


@Drawing
def rates_compared(rows: Rows) -> Any | None:
    """η_c over that of the first run for every shared problem, with the range that both brackets allow."""
    chart = _ratios(rows, alt.Y("line:N", title=None, sort=in_order(), axis=alt.Axis(grid=True)), 80)
    return None if chart is None else finished(chart.facet(facet=alt.Facet("way:N", title=None), columns=2))


@Drawing
def rates_compared_many(rows: Rows) -> Any | None:
    """The same with one line for each way of training, for sweeps of many problems."""
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


def _alt_text(rows: Rows) -> str:
    pairs = compared(rows)
    changes = [row["change"] for row in pairs if row["change"] is not None]
    counts = ", ".join(f"{count} {name}" for name, count in agreements(pairs).items())
    return (
        f"{count_of(pairs, 'problem')} of later runs matched with the first: {counts}; "
        f"η_c is {value_range(changes)} times the first run's."
    )


RATES_COMPARED = Figure(
    name="rates-compared",
    section=Section.COMPARED,
    title="Critical rates relative to the first run",
    caption="Each mark is η<sub>c</sub> of a later run over that of the first; the bar is the range that both "
    "brackets allow. On the dashed line both are equal.",
    draw=rates_compared,
    alt_text=_alt_text,
    many=Many(
        draw=rates_compared_many,
        dataset="compared",
        by="line",
        limit=MANY_LINES,
        note="With this many problems each mark is a problem, and each line contains all of a way of training.",
    ),
)
