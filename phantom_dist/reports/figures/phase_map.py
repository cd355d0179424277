"""The phase map: how every trial ended, over η/η_c and context."""

from __future__ import annotations

import math
from typing import Any

import altair as alt

from phantom_dist.reports.figures.chart import (
    Figure,
    finished,
    in_order,
    line_height,
    named,
    tooltip,
    ways_of,
    zoom,
)
from phantom_dist.reports.rows import Rows
from phantom_dist.reports.theme import BLUE, INK, OUTCOMES, outcome_scale

_TICKS = (0.001, 0.01, 0.1, 0.5, 0.7, 0.9, 0.97, 0.99, 1.0, 1.01, 1.03, 1.1, 1.5, 3.0, 10.0, 100.0, 1000.0)
_EDGES = (-7, -2.3, -0.7, -0.36, -0.1, -0.03, -0.01, 0, 0.01, 0.03, 0.1, 0.4, 1.1, 2.3, 7)


@Figure
def phase_map(rows: Rows) -> Any | None:
    """Outcome by colour and shape over η/η_c and context, a column for each way of training.

    The axis is ln(η/η_c), stretched around 0 (symlog with 1 % as its linear range) so that the closing of the
    bracket shows. Without any η_c the axis is η itself, logarithmic.
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


@Figure
def phase_shares(rows: Rows) -> Any | None:
    """The same for many problems: a line for each outcome, how many trials ended so within a range of η/η_c."""
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


def outcome_marks(rows: Rows, x: Any, y: Any) -> Any:
    """A mark for each trial, its outcome by colour and shape."""
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
    """Boxes: of the trials in a range of `field`, how many ended in each outcome; the number stands in the box."""
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
