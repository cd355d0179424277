"""The data collapse: how far the trials of all models lie on one curve in dimensionless units."""

from __future__ import annotations

import math
from typing import Any

import altair as alt

from phantom_dist.reports.figures.chart import MANY_PROBLEMS, finished, tooltip, zero_line
from phantom_dist.reports.figures.datasets import named
from phantom_dist.reports.figures.figure import Drawing, Figure, Many, Section
from phantom_dist.reports.phrases import count_of, is_finite
from phantom_dist.reports.rows import Rows
from phantom_dist.reports.theme import BLUE, way_scales

NEAR = (0.25, 4.0)
"""The drawn range of multiples of the crossing; the catapult region lies beyond."""

HIGHEST = 1.05
"""The largest drawn final gap, in units of the initial one."""


_PANELS = {"pi": "Π = η T κ / |g_0|", "ratio": "learning rate η / η_c"}


@Drawing
def collapse(rows: Rows) -> Any | None:
    """g_T / |g_0| of every trial over Π (the rate in first order's unit) and over η / η_c (in the measured unit)."""
    return _panels(rows, _marks)


@Drawing
def collapse_many(rows: Rows) -> Any | None:
    """The same for many trials: boxes whose opacity shows the number of trials."""
    return _panels(rows, _boxes)


def _panels(rows: Rows, layer: Any) -> Any | None:
    if not any(row.get("relative_final_gap") is not None and row.get("ratio") for row in rows.trials):
        return None
    panels = [
        alt.layer(zero_line(), layer(rows, field, title)).properties(width=320, height=300)
        for field, title in _PANELS.items()
    ]
    return finished(alt.hconcat(*panels))


def _near(field: str) -> Any:
    low, high = NEAR
    return alt.Chart(named("trials")).transform_filter(
        f"datum.{field} >= {low} && datum.{field} <= {high} && abs(datum.relative_final_gap) <= {HIGHEST}"
    )


def _x(name: str, title: str) -> Any:
    return alt.X(
        f"{name}:Q",
        title=title,
        scale=alt.Scale(type="log", domain=list(NEAR), nice=False),
        axis=alt.Axis(values=[0.25, 0.5, 1, 2, 4], format="~g", grid=True),
    )


def _y(name: str) -> Any:
    return alt.Y(f"{name}:Q", title="final gap g_T / |g_0|")


def _marks(rows: Rows, field: str, title: str) -> Any:
    what = "model" if rows.several_models else "way"
    colours, shapes = way_scales(list(dict.fromkeys(row[what] for row in rows.trials)))
    words = "model" if rows.several_models else "way of training"
    return (
        _near(field)
        .mark_point(filled=True, size=26, opacity=0.6)
        .encode(
            x=_x(field, title),
            y=_y("relative_final_gap"),
            color=alt.Color(
                f"{what}:N", title=words, scale=colours, legend=alt.Legend(columns=5, symbolLimit=40)
            ),
            shape=alt.Shape(f"{what}:N", title=words, scale=shapes),
            tooltip=tooltip("pair", "way", "model", "learning_rate", "pi", "ratio", "gap_final"),
        )
    )


def _boxes(rows: Rows, field: str, title: str) -> Any:
    wide, tall = math.log(NEAR[1] / NEAR[0]) / 40, 2 * HIGHEST / 35
    return (
        _near(field)
        .transform_calculate(
            i=f"floor(log(datum.{field}) / {wide:.6f})", j=f"floor(datum.relative_final_gap / {tall:.6f})"
        )
        .transform_aggregate(trials="count()", groupby=["i", "j"])
        .transform_calculate(
            left=f"exp(datum.i * {wide:.6f})",
            right=f"exp((datum.i + 1) * {wide:.6f})",
            low=f"datum.j * {tall:.6f}",
            high=f"(datum.j + 1) * {tall:.6f}",
        )
        .mark_rect(clip=True)
        .encode(
            x=_x("left", title),
            x2="right:Q",
            y=_y("low"),
            y2="high:Q",
            color=alt.value(BLUE),
            opacity=alt.Opacity(
                "trials:Q", scale=alt.Scale(type="log", range=[0.15, 1]), legend=alt.Legend(title="trials")
            ),
            tooltip=tooltip("trials", "left", "right", "low", "high"),
        )
    )


def _alt_text(rows: Rows) -> str:
    drawn = [row for row in rows.trials if row["ratio"] and is_finite(row["relative_final_gap"])]
    right = sum((row["relative_final_gap"] > 0) == (row["ratio"] > 1) for row in drawn)
    return (
        f"For {right} of {count_of(drawn, 'trial')} the final gap is positive exactly if the learning rate is above "
        "η_c; the others lie beyond the region in which a larger rate closes the gap further."
        if right < len(drawn)
        else f"For all {count_of(drawn, 'trial')} the final gap is positive exactly if the learning rate is above η_c."
    )


COLLAPSE = Figure(
    name="collapse",
    section=Section.FIRST_ORDER,
    title="Data collapse",
    caption="Each mark is a trial near its crossing, with its final gap in units of the initial one. Left: over Π, all "
    "models and contexts would lie on one curve through (1, 0) if first order were exact; a law has to explain "
    "the scatter. Right: over η / η<sub>c</sub> all cross zero at 1 by definition; as far as they coincide "
    "elsewhere, they share one curve.",
    draw=collapse,
    alt_text=_alt_text,
    many=Many(
        draw=collapse_many,
        dataset="trials",
        by="number",
        limit=MANY_PROBLEMS,
        note="With this many trials each box counts them: the stronger its colour, the more trials lie in it.",
    ),
)
