"""Outcomes over a learning rate: a mark for each trial, or counts of each outcome within ranges."""

from __future__ import annotations

import math
from typing import Any

import altair as alt

from phantom_dist.reports.figures.chart import tooltip
from phantom_dist.reports.rows import Rows
from phantom_dist.reports.theme import BLUE, INK, OUTCOMES, outcome_scale

_EDGES = (-7, -2.3, -0.7, -0.36, -0.1, -0.03, -0.01, 0, 0.01, 0.03, 0.1, 0.4, 1.1, 2.3, 7)


def outcome_marks(rows: Rows, x: Any, y: Any) -> Any:
    """A mark for each trial; colour and shape show its outcome."""
    present = {row["outcome"] for row in rows.trials}
    return (
        alt.Chart()
        .mark_point(filled=True, size=70, opacity=0.8)
        .encode(
            x=x,
            y=y,
            color=alt.Color("outcome:N", title="outcome", scale=outcome_scale(present, 0)),
            shape=alt.Shape("outcome:N", title="outcome", scale=outcome_scale(present, 1)),
            tooltip=tooltip(
                "pair", "way", "model", "outcome", "ratio", "learning_rate", "pi", "gap_0", "gap_final"
            ),
        )
    )


def outcome_shares(rows: Rows, field: str, title: str, *, by: list[str]) -> Any:
    """Boxes with the number of trials of each outcome within a range of `field`."""
    present = {row["outcome"] for row in rows.trials}
    order = [outcome.value for outcome in OUTCOMES if outcome.value in present]
    edges = list(_EDGES) if field == "log_ratio" else _decade_edges(rows)
    inner = " : ".join(f"datum.{field} < {edge} ? {i}" for i, edge in enumerate(edges[1:-1]))
    base = (
        alt.Chart()
        .transform_calculate(bin=f"{inner} : {len(edges) - 2}")
        .transform_aggregate(trials="count()", groupby=[*by, "bin", "outcome"])
        .transform_joinaggregate(all="sum(trials)", groupby=[*by, "bin"])
        .transform_calculate(share="datum.trials / datum.all")
    )
    names = [_edge_name(field, edges[i], edges[i + 1]) for i in range(len(edges) - 1)]
    x = alt.X(
        "bin:O",
        title=f"{title} (ranges)",
        scale=alt.Scale(domain=list(range(len(names)))),
        axis=alt.Axis(labelExpr=f"{_list(names)}[datum.value]", labelAngle=-45),
    )
    y = alt.Y("outcome:N", title=None, sort=order)
    boxes = base.mark_rect(stroke=INK, strokeOpacity=0.15).encode(
        x=x,
        y=y,
        color=alt.value(BLUE),
        opacity=alt.Opacity("share:Q", scale=alt.Scale(domain=[0, 1], range=[0.05, 0.55]), legend=None),
        tooltip=[*tooltip("outcome", "trials", "share")],
    )
    words = base.mark_text(fontSize=9, color=INK, tooltip=None).encode(
        x=x, y=y, text=alt.Text("trials:Q", format=".3~s")
    )
    return alt.layer(boxes, words).properties(width=alt.Step(26), height=alt.Step(28))


def _list(values: Any) -> str:
    """A list as a Vega expression."""
    return "[" + ", ".join(f"'{v}'" if isinstance(v, str) else str(v) for v in values) + "]"


def _edge_name(field: str, low: float, high: float) -> str:
    if field != "log_ratio":
        return f"{low:.0e} to {high:.0e}".replace("e-0", "e-").replace("e+0", "e")
    ends = (math.exp(low), math.exp(high))
    if ends[0] < 0.01:
        return f"< {ends[1]:.3g}"
    return f"> {ends[0]:.3g}" if ends[1] > 100 else f"{ends[0]:.3g} to {ends[1]:.3g}"


def _decade_edges(rows: Rows) -> list[float]:
    rates = [row["learning_rate"] for row in rows.trials if row["learning_rate"]]
    first, last = math.floor(math.log10(min(rates))), math.floor(math.log10(max(rates))) + 1
    return [10.0**e for e in range(first, last + 1)]
