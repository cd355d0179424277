"""Measured critical rates against the first-order prediction |g_0| / (T κ), at which Π = 1."""

from __future__ import annotations

from typing import Any

import altair as alt

from phantom_dist.reports.figures.chart import (
    MANY_LINES,
    decades,
    finished,
    in_order,
    line_height,
    tooltip,
    zoom,
)
from phantom_dist.reports.figures.datasets import named
from phantom_dist.reports.figures.figure import Drawing, Figure, Many, Section
from phantom_dist.reports.phrases import value_range
from phantom_dist.reports.rows import Rows
from phantom_dist.reports.theme import INK, way_scales


@Drawing
def first_order(rows: Rows) -> Any | None:
    """η_c over |g_0|/(T κ) with the identity line, and Π_c = η_c T κ/|g_0| for each context."""
    line = alt.Y("line:N", title=None, sort=in_order(), axis=alt.Axis(grid=True))
    return _both(rows, line, line_height(rows))


@Drawing
def first_order_many(rows: Rows) -> Any | None:
    """The same with one line for each way of training, for sweeps of many problems."""
    return _both(rows, alt.Y("way:N", title=None, axis=alt.Axis(grid=True)), alt.Step(34))


def _both(rows: Rows, line: Any, height: Any) -> Any | None:
    predicted = [row for row in rows.located if row.get("first_order_rate")]
    if not predicted:
        return None
    rates = [row[name] for row in predicted for name in ("eta_c", "first_order_rate")]
    low, high = min(rates) / 1.5, max(rates) * 1.5
    scale = alt.Scale(type="log", domain=[low, high], nice=False)
    ways = list(dict.fromkeys(row["way"] for row in predicted))
    colours, shapes = way_scales(ways)
    colour = alt.Color(
        "way:N",
        title="way of training",
        scale=colours,
        legend=alt.Legend(columns=4),
    )
    shape = (
        alt.Shape("run:N") if rows.several_runs else alt.Shape("way:N", title="way of training", scale=shapes)
    )
    tip = tooltip("pair", "way", "model", "eta_c", "first_order_rate", "pi_c", "gap_0", "kappa")
    axis = alt.Axis(format=".0e", values=decades(low, high), grid=True)
    identity = (
        alt.Chart(alt.InlineData(values=[{"rate": low}, {"rate": high}]))
        .mark_line(color=INK, strokeDash=[4, 3], opacity=0.7, tooltip=None)
        .encode(x=alt.X("rate:Q", scale=scale), y=alt.Y("rate:Q", scale=scale))
    )
    measured = (
        alt.Chart(named("problems"))
        .transform_filter("isValid(datum.first_order_rate)")
        .mark_point(filled=True, size=70, opacity=0.85)
        .encode(
            x=alt.X("first_order_rate:Q", title="first order |g_0| / (T κ)", scale=scale, axis=axis),
            y=alt.Y("eta_c:Q", title="measured η_c", scale=scale, axis=axis),
            color=colour,
            shape=shape,
            tooltip=tip,
        )
    )
    strip = (
        alt.Chart(named("problems"))
        .transform_filter("isValid(datum.first_order_rate)")
        .mark_point(filled=True, size=70, opacity=0.85)
        .encode(
            x=alt.X("pi_c:Q", title="Π_c = η_c T κ / |g_0|", scale=alt.Scale(zero=False, padding=14)),
            y=line,
            color=colour,
            shape=shape,
            tooltip=tip,
        )
    )
    one = (
        alt.Chart(alt.InlineData(values=[{"one": 1}]))
        .mark_rule(color=INK, strokeDash=[4, 3], opacity=0.7, tooltip=None)
        .encode(x="one:Q")
    )
    left = alt.layer(identity, measured.add_params(zoom("x", "y"))).properties(width=320, height=320)
    right = alt.layer(one, strip).properties(width=330, height=height)
    return finished(alt.hconcat(left, right))


def _alt_text(rows: Rows) -> str:
    values = [row["pi_c"] for row in rows.located if row.get("first_order_rate") is not None]
    near = sum(abs(value - 1) <= 0.1 for value in values)
    return f"Π_c: {value_range(values)}; {near} of {len(values)} lie within 10 % of 1, where first order is exact."


FIRST_ORDER = Figure(
    name="first-order",
    section=Section.FIRST_ORDER,
    title="η_c and Π_c",
    caption="Left: on the dashed line the first-order prediction, computed from gradients of the untouched model "
    "alone, is exact. Right: the same deviation as Π<sub>c</sub>; above 1 the gap closed more slowly than at its "
    "initial rate, below 1 faster.",
    draw=first_order,
    alt_text=_alt_text,
    many=Many(
        draw=first_order_many,
        dataset="problems",
        by="line",
        limit=MANY_LINES,
        note="With this many problems each line on the right contains all problems of a way of training.",
    ),
)
