"""The data collapse: in dimensionless units the trials of all models lie on one curve, as far as they do."""

from __future__ import annotations

from typing import Any

import altair as alt

from phantom_dist.reports.figures.chart import finished, named, tooltip
from phantom_dist.reports.rows import Rows
from phantom_dist.reports.theme import INK, way_scale

NEAR = (0.25, 4.0)
"""Multiples of the crossing that are drawn: beyond them lies the catapult region."""


HIGHEST = 1.05
"""Final gap in units of the initial one that is drawn."""


def collapse(rows: Rows) -> Any | None:
    """g_T / |g_0| of every trial over Π (first order's unit) and over η / η_c (the measured one)."""
    drawn = [row for row in rows.trials if row.get("relative_final_gap") is not None and row.get("ratio")]
    if not drawn:
        return None
    what = "model" if rows.several_models else "way"
    values = list(dict.fromkeys(row[what] for row in drawn))
    colour = alt.Color(
        f"{what}:N",
        title="model" if rows.several_models else "way of training",
        scale=way_scale(values),
        legend=alt.Legend(columns=5, symbolLimit=40),
    )
    gap = alt.Y(
        "relative_final_gap:Q",
        title="final gap g_T / |g_0|",
        scale=alt.Scale(domain=[-HIGHEST, HIGHEST], nice=False),
    )
    zero = (
        alt.Chart(alt.InlineData(values=[{"zero": 0}]))
        .mark_rule(color=INK, strokeDash=[4, 3], opacity=0.7, tooltip=None)
        .encode(y="zero:Q")
    )

    def over(field: str, title: str) -> Any:
        low, high = NEAR
        points = (
            alt.Chart(named("trials"))
            .transform_filter(
                f"datum.{field} >= {low} && datum.{field} <= {high} && abs(datum.relative_final_gap) <= {HIGHEST}"
            )
            .mark_point(filled=True, size=22, opacity=0.5)
            .encode(
                x=alt.X(
                    f"{field}:Q",
                    title=title,
                    scale=alt.Scale(type="log", domain=[low, high], nice=False),
                    axis=alt.Axis(values=[0.25, 0.5, 1, 2, 4], format="~g", grid=True),
                ),
                y=gap,
                color=colour,
                tooltip=tooltip("pair", "way", "model", "learning_rate", "pi", "ratio", "gap_final"),
            )
        )
        return alt.layer(zero, points).properties(width=320, height=300)

    return finished(alt.hconcat(over("pi", "Π = η T κ / |g_0|"), over("ratio", "learning rate η / η_c")))
