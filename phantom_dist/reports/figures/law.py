"""The law against what was measured: with its intervals, and what is left against each of its groups."""

from __future__ import annotations

from typing import Any

import altair as alt

from phantom_dist.reports.figures.chart import Figure, finished, named, tooltip, zero_line
from phantom_dist.reports.figures.first_order import decades
from phantom_dist.reports.predictions import GROUPS
from phantom_dist.reports.rows import Rows
from phantom_dist.reports.theme import BLUE, INK, way_scales

_TIP = (
    "pair",
    "way",
    "model",
    "eta_c",
    "predicted",
    "found_ratio",
    "low_ratio",
    "high_ratio",
    "inside",
    "known",
)


@Figure
def predicted(rows: Rows) -> Any | None:
    """η_c over the prediction, each with its interval, for every way of training."""
    if not rows.predictions:
        return None
    rates = [row["eta_c"] for row in rows.predictions]
    low, high = min(rates) / 1.3, max(rates) * 1.3
    x = alt.X(
        "eta_c:Q",
        title="measured η_c",
        scale=alt.Scale(type="log", domain=[low, high], nice=False),
        axis=alt.Axis(format=".0e", values=decades(low, high), grid=True),
    )
    ends = alt.Scale(zero=False, nice=False, padding=8)
    bars = (
        alt.Chart()
        .mark_rule(color=INK, opacity=0.35, strokeWidth=2, tooltip=None)
        .encode(x=x, y=alt.Y("low_ratio:Q", title="measured / predicted", scale=ends), y2="high_ratio:Q")
    )
    points = (
        alt.Chart()
        .mark_point(filled=True, size=45, opacity=0.85, color=BLUE)
        .encode(x=x, y=alt.Y("found_ratio:Q", scale=ends), tooltip=tooltip(*_TIP))
    )
    one = (
        alt.Chart()
        .transform_aggregate(n="count()", groupby=["way"])
        .mark_rule(color=INK, strokeDash=[4, 3], opacity=0.7, tooltip=None)
        .encode(y=alt.YDatum(1, scale=ends))
    )
    grid = (
        alt.layer(bars, one, points, data=named("predictions"))
        .properties(width=330, height=230)
        .facet(facet=alt.Facet("way:N", title=None, sort=_ways(rows)), columns=2)
        .resolve_scale(y="independent")
    )
    return finished(grid)


@Figure
def residuals(rows: Rows) -> Any | None:
    """ln(measured / predicted) over each group that takes more than one value."""
    return _against_groups(rows, _marks)


@Figure
def residuals_many(rows: Rows) -> Any | None:
    """The same for many rates: the median and the middle half within each range of the group."""
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
    colours, shapes = way_scales(_ways(rows))
    points = (
        alt.Chart()
        .mark_point(filled=True, size=22, opacity=0.5)
        .encode(
            x=alt.X(f"{name}:Q", title=name, scale=alt.Scale(zero=False, padding=8)),
            y=alt.Y("residual:Q", title=_RESIDUAL, axis=alt.Axis(tickCount=5)),
            color=alt.Color("way:N", title="way of training", scale=colours, legend=alt.Legend(columns=4)),
            shape=alt.Shape("way:N", title="way of training", scale=shapes),
            tooltip=tooltip(*_TIP[:6], name),
        )
    )
    return [points]


def _quartiles(rows: Rows, name: str) -> list[Any]:
    # Vega-Lite bins for all panels at once, so each needs names of its own.
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


def _ways(rows: Rows) -> list[str]:
    ordered = sorted(rows.predictions, key=lambda row: (row["method"], row["optimizer"], row["steps"]))
    return list(dict.fromkeys(row["way"] for row in ordered))
