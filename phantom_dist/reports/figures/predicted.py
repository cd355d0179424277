"""Measured critical rates over the law's predictions, with intervals."""

from __future__ import annotations

import statistics
from typing import Any

import altair as alt

from phantom_dist.reports.figures.chart import decades, finished, predicted_ways, tooltip
from phantom_dist.reports.figures.datasets import named
from phantom_dist.reports.figures.figure import Drawing, Figure, Section
from phantom_dist.reports.phrases import count_of
from phantom_dist.reports.rows import Rows
from phantom_dist.reports.tables import percent
from phantom_dist.reports.theme import BLUE, INK

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


@Drawing
def predicted(rows: Rows) -> Any | None:
    """Measured over predicted η_c with its interval, a panel for each way of training."""
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
        .facet(facet=alt.Facet("way:N", title=None, sort=predicted_ways(rows)), columns=2)
        .resolve_scale(y="independent")
    )
    return finished(grid)


def _alt_text(rows: Rows) -> str:
    errors = [abs(row["found_ratio"] - 1) for row in rows.predictions]
    inside = sum(row["inside"] == "inside its interval" for row in rows.predictions)
    return (
        f"{count_of(rows.predictions, 'prediction')}: the error is {percent(statistics.median(errors))} in the median "
        f"and {percent(max(errors))} at most; {inside} measured rates lie inside their interval."
    )


PREDICTED = Figure(
    name="predicted",
    section=Section.LAW,
    title="Measured and predicted",
    caption="Each point is a measured critical rate as a multiple of its prediction; the bar is the predicted "
    "interval. On the dashed line the prediction is exact.",
    draw=predicted,
    alt_text=_alt_text,
)
