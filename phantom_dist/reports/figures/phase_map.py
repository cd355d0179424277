"""The phase map: how every trial ended, over η/η_c and context."""

from __future__ import annotations

import math
from typing import Any

import altair as alt

from phantom_dist.reports.figures.chart import finished, line_height, lines_of, named, tooltip
from phantom_dist.reports.rows import Rows
from phantom_dist.reports.theme import INK, outcome_scale

_TICKS = (0.001, 0.01, 0.1, 0.5, 0.7, 0.9, 0.97, 0.99, 1.0, 1.01, 1.03, 1.1, 1.5, 3.0, 10.0, 100.0, 1000.0)


def phase_map(rows: Rows) -> Any | None:
    """Outcome by colour and shape over η/η_c and context, a column for each way of training.

    The axis is ln(η/η_c), stretched around 0 (symlog with 1 % as its linear range) so that the closing of the
    bracket shows. Without any η_c the axis is η itself, logarithmic.
    """
    if not rows.trials:
        return None
    located = any(row["ratio"] for row in rows.trials)
    present = {row["outcome"] for row in rows.trials}
    rate = (
        _ratio_axis()
        if located
        else alt.X("learning_rate:Q", title="learning rate η", scale=alt.Scale(type="log"))
    )
    points = (
        alt.Chart()
        .mark_point(filled=True, size=70, opacity=0.8)
        .encode(
            x=rate,
            y=alt.Y("line:N", title=None, sort=lines_of(rows), axis=alt.Axis(grid=True)),
            color=alt.Color("outcome:N", title="outcome", scale=outcome_scale(present, 0)),
            shape=alt.Shape("outcome:N", title="outcome", scale=outcome_scale(present, 1)),
            tooltip=tooltip(
                "pair", "way", "model", "outcome", "ratio", "learning_rate", "pi", "gap_0", "gap_final"
            ),
        )
    )
    rule = (
        alt.Chart()
        .transform_aggregate(n="count()", groupby=["way"])
        .mark_rule(color=INK, strokeDash=[4, 3], opacity=0.7, tooltip=None)
        .encode(x=alt.datum(0))
    )
    where = "isValid(datum.log_ratio)" if located else "isValid(datum.learning_rate)"
    grid = (
        alt.layer(*([rule, points] if located else [points]), data=named("trials"))
        .transform_filter(where)
        .properties(
            width=345 if len({row["way"] for row in rows.trials}) > 1 else 720, height=line_height(rows)
        )
        .facet(facet=alt.Facet("way:N", title=None), columns=2)
    )
    return finished(grid)


def _ratio_axis() -> Any:
    labels = "datum.value === 0 ? '1' : format(exp(datum.value), '.3~r')"
    return alt.X(
        "log_ratio:Q",
        title="learning rate η / η_c",
        scale=alt.Scale(type="symlog", constant=0.01, nice=False, padding=14),
        axis=alt.Axis(values=[math.log(ratio) for ratio in _TICKS], labelExpr=labels, labelOverlap=True),
    )
