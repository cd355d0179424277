"""What moved the order parameter: the readout (the probabilities) or the geometry (the overlaps)."""

from __future__ import annotations

from typing import Any

import altair as alt

from phantom_dist.reports.figures.chart import finished, line_height, lines_of, named, selector, tooltip
from phantom_dist.reports.figures.silent_failure import zero_line
from phantom_dist.reports.rows import OVER, UNDER, Rows
from phantom_dist.reports.theme import INK, PARTS, axis_title

_COLOUR = alt.Color(
    "part:N", title="part of ΔΦ", scale=alt.Scale(domain=list(PARTS), range=list(PARTS.values())), sort=None
)
_PART = "datum.column === 'readout_change' ? 'readout' : 'geometry'"


def shares_in_sum(rows: Rows) -> Any | None:
    """Φ_T - Φ_0 of the last failure under η_c as the sum of both parts, a bar for each context."""
    if not any(row["place"] == UNDER for row in rows.steps):
        return None
    bars = (
        alt.Chart()
        .mark_bar(height=11)
        .encode(
            x=alt.X(
                "total:Q",
                title="Φ_T − Φ_0 = readout + geometry",
                stack="zero",
                axis=alt.Axis(tickCount=4, format=".2~g"),
            ),
            y=alt.Y("line:N", title=None, sort=lines_of(rows)),
            color=_COLOUR,
            tooltip=tooltip("pair", "way", "total", "ratio"),
        )
    )
    sums = alt.Chart().mark_tick(color=INK, thickness=2, height=17, tooltip=None).encode(
        x=alt.X("sum(total):Q"), y=alt.Y("line:N", sort=lines_of(rows))
    )  # fmt: skip
    grid = (
        alt.layer(bars, sums, data=named("steps"))
        .transform_filter(alt.datum.place == UNDER)
        .transform_fold(["readout_change", "geometry_change"], as_=["column", "change"])
        .transform_filter("isValid(datum.change)")
        .transform_calculate(part=_PART)
        .transform_aggregate(
            total="sum(change)",
            ratio="max(ratio)",
            groupby=["run", "model", "pair", "line", "way", "number", "part"],
        )
        .properties(width=330, height=line_height(rows))
        .facet(facet=alt.Facet("way:N", title=None), columns=2)
    )
    return finished(grid)


def shares_by_step(rows: Rows) -> Any | None:
    """Both parts of the change of Φ at each step, for the two trials of a bracket, chosen from a list."""
    if not any(row["place"] != "other" for row in rows.steps):
        return None
    choice = selector(rows, "problem_by_step", "Context and way of training: ")
    bars = (
        alt.Chart()
        .mark_bar()
        .encode(
            x=alt.X("step:O", title=axis_title("step"), axis=alt.Axis(labelAngle=0)),
            y=alt.Y("change:Q", title="change of Φ in the step", stack="zero"),
            color=_COLOUR,
            tooltip=tooltip("part", "step", "change", "ratio", "outcome"),
        )
    )
    panels = []
    for place in (UNDER, OVER):
        layer = (
            alt.layer(zero_line(), bars, data=named("steps"))
            .transform_filter((alt.datum.number == choice) & (alt.datum.place == place))
            .transform_fold(["readout_change", "geometry_change"], as_=["column", "change"])
            .transform_filter("isValid(datum.change)")
            .transform_calculate(part=_PART)
            .properties(width=400, height=180, title=f"trial {place}")
        )
        panels.append(layer)
    return finished(alt.hconcat(*panels).resolve_scale(y="shared").add_params(choice))
