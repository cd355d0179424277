"""The law's residuals over each of its groups."""

from __future__ import annotations

import statistics
from typing import Any

import altair as alt

from phantom_dist.reports.figures.chart import MANY_PROBLEMS, finished, predicted_ways, tooltip, zero_line
from phantom_dist.reports.figures.datasets import named
from phantom_dist.reports.figures.figure import Drawing, Figure, Many, Section
from phantom_dist.reports.phrases import value_range
from phantom_dist.reports.predictions import GROUPS
from phantom_dist.reports.rows import Rows
from phantom_dist.reports.tables import number
from phantom_dist.reports.theme import BLUE, INK, way_scales


@Drawing
def residuals(rows: Rows) -> Any | None:
    """ln(measured / predicted) over each group that takes more than one value."""
    return _against_groups(rows, _marks)


@Drawing
def residuals_many(rows: Rows) -> Any | None:
    """The same for many rates: median and middle half within each range of the group."""
    return _against_groups(rows, _quartiles)


def _against_groups(rows: Rows, layers: Any) -> Any | None:
    shown = [name for name in GROUPS if len({row[name] for row in rows.predictions}) > 1]
    if not shown:
        return None
    panels = [
        alt.layer(zero_line(), *layers(rows, name), data=named("predictions")).properties(
            width=200, height=150
        )
        for name in shown
    ]
    return finished(alt.concat(*panels, columns=3).resolve_scale(y="shared"))


_RESIDUAL = "ln(measured / predicted)"


def _marks(rows: Rows, name: str) -> list[Any]:
    colours, shapes = way_scales(predicted_ways(rows))
    points = (
        alt.Chart()
        .mark_point(filled=True, size=22, opacity=0.5)
        .encode(
            x=alt.X(f"{name}:Q", title=name, scale=alt.Scale(zero=False, padding=8)),
            y=alt.Y("residual:Q", title=_RESIDUAL, axis=alt.Axis(tickCount=5)),
            color=alt.Color("way:N", title="way of training", scale=colours, legend=alt.Legend(columns=4)),
            shape=alt.Shape("way:N", title="way of training", scale=shapes),
            tooltip=tooltip("pair", "way", "model", "eta_c", "predicted", "found_ratio", name),
        )
    )
    return [points]


def _quartiles(rows: Rows, name: str) -> list[Any]:
    # Vega-Lite bins for all panels at once, so each panel needs unique field names.
    low, high, middle = (f"{end}_of_{name}" for end in ("low", "high", "middle"))
    base = (
        alt.Chart()
        .transform_bin(as_=[low, high], field=name, bin=alt.Bin(maxbins=14))
        .transform_calculate(**{middle: f"(datum.{low} + datum.{high}) / 2"})
        .transform_aggregate(
            q1="q1(residual)", q2="median(residual)", q3="q3(residual)", n="count()", groupby=[middle]
        )
    )
    x = alt.X(f"{middle}:Q", title=name, scale=alt.Scale(zero=False, padding=8))
    tip = tooltip(middle, "q1", "q2", "q3", "n")
    y = alt.Y("q1:Q", title=_RESIDUAL, axis=alt.Axis(tickCount=5))
    return [
        base.mark_rule(color=INK, opacity=0.5, strokeWidth=3, tooltip=None).encode(x=x, y=y, y2="q3:Q"),
        base.mark_point(filled=True, size=40, color=BLUE, opacity=1).encode(
            x=x, y=alt.Y("q2:Q", title=_RESIDUAL), tooltip=tip
        ),
    ]


def _alt_text(rows: Rows) -> str:
    values = [row["residual"] for row in rows.predictions]
    return f"ln(measured / predicted): {value_range(values)}, with median {number(statistics.median(values), 2)}."


RESIDUALS = Figure(
    name="residuals",
    section=Section.LAW,
    title="Residuals over each group of the law",
    caption="ln(measured / predicted) over the law’s input: gap = |g<sub>0</sub>| / 5, bend = ln Π of the path’s "
    "estimate, last and earlier = the path’s corrections of ln η, length = ln(T / 8), overlap = "
    "S<sub>tc</sub>², odds = the target’s log-odds / 10. A trend would be an effect that the law misses.",
    draw=residuals,
    alt_text=_alt_text,
    many=Many(
        draw=residuals_many,
        dataset="predictions",
        by="number",
        limit=MANY_PROBLEMS,
        note="With this many rates the mark is the median in each range of a group, the bar the middle half.",
    ),
)
