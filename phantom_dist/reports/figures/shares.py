"""What moved the order parameter: the readout (the probabilities) or the geometry (the overlaps)."""

from __future__ import annotations

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
    zero_line,
    zoom,
)  # fmt: skip
from phantom_dist.reports.rows import OVER, UNDER, Rows
from phantom_dist.reports.theme import INK, PARTS, axis_title, way_scales

_PART_COLOURS = alt.Scale(domain=list(PARTS), range=list(PARTS.values()))


@Figure
def shares_in_sum(rows: Rows) -> Any | None:
    """Φ_T - Φ_0 of the last failure under η_c as the sum of both parts, bars for each context.

    The parts stand above each other within a line, so that their place tells them apart without their colour.
    """
    if not any(row["place"] == UNDER for row in rows.trials):
        return None
    y = alt.Y("line:N", title=None, sort=in_order())
    title = "parts of Φ_T − Φ_0, and their sum"

    def bar(field: str, part: str, offset: int) -> Any:
        return (
            alt.Chart()
            .transform_calculate(part=f"'{part}'")
            .mark_bar(height=8, yOffset=offset)
            .encode(
                x=alt.X(f"{field}:Q", title=title, axis=alt.Axis(tickCount=4, format=".2~g")),
                y=y,
                color=alt.Color("part:N", title="part of ΔΦ", scale=_PART_COLOURS),
                tooltip=tooltip("pair", "way", "readout_sum", "geometry_sum", "ratio"),
            )
        )

    sums = (
        alt.Chart()
        .transform_calculate(total="datum.readout_sum + datum.geometry_sum")
        .mark_tick(color=INK, thickness=2, height=18, tooltip=None)
        .encode(x="total:Q", y=y)
    )
    grid = (
        alt.layer(
            bar("readout_sum", "readout", -4), bar("geometry_sum", "geometry", 4), sums, data=named("trials")
        )
        .transform_filter(alt.datum.place == UNDER)
        .properties(width=330 if len(ways_of(rows)) > 1 else 720, height=line_height(rows))
        .facet(facet=alt.Facet("way:N", title=None), columns=2)
    )
    return finished(grid)


@Figure
def shares_in_sum_many(rows: Rows) -> Any | None:
    """The geometry's part over the readout's, a mark for each last failure under η_c: for sweeps of many problems."""
    if not any(row["place"] == UNDER for row in rows.trials):
        return None
    colours, shapes = way_scales(ways_of(rows))
    points = (
        alt.Chart(named("trials"))
        .transform_filter(alt.datum.place == UNDER)
        .mark_point(filled=True, size=28, opacity=0.6)
        .encode(
            x=alt.X("readout_sum:Q", title="readout's part of Φ_T − Φ_0"),
            y=alt.Y("geometry_sum:Q", title="geometry's part"),
            color=alt.Color("way:N", title="way of training", scale=colours, legend=alt.Legend(columns=4)),
            shape=alt.Shape("way:N", title="way of training", scale=shapes),
            tooltip=tooltip("pair", "way", "model", "readout_sum", "geometry_sum", "ratio"),
        )
    )
    return finished(
        alt.layer(zero_line(), points.add_params(zoom("x", "y"))).properties(width=620, height=300)
    )


@Figure
def shares_by_step(rows: Rows) -> Any | None:
    """Both parts of the change of Φ at each step, for the two trials of one bracket.

    Steps are a quantity, not names: at T = 128 ticks thin out and bars get narrow, nothing overlaps.
    """
    if not any(row["place"] != "other" for row in rows.steps):
        return None
    panels = []
    for place in (UNDER, OVER):
        # Each part has its own half of the step, so that its place tells it apart without its colour.
        half = "datum.part === 'readout' ? -1 : 1"
        bars = (
            alt.Chart()
            .transform_calculate(
                left=f"datum.step + min(0.4 * ({half}), 0)", right=f"datum.step + max(0.4 * ({half}), 0)"
            )
            .mark_bar()
            .encode(
                x=alt.X(
                    "left:Q",
                    title=axis_title("step"),
                    axis=alt.Axis(tickMinStep=1, format="d", grid=False, labelOverlap=True),
                    scale=alt.Scale(nice=False),
                ),
                x2="right:Q",
                y=alt.Y("change:Q", title="change of Φ in the step"),
                y2=alt.datum(0),
                color=alt.Color("part:N", title="part of ΔΦ", scale=_PART_COLOURS),
                tooltip=tooltip("part", "step", "change", "ratio", "outcome"),
            )
        )
        layers = alt.layer(zero_line(), bars, data=named("detail")).transform_filter(alt.datum.place == place)
        panels.append(
            layers.transform_fold(["readout_change", "geometry_change"], as_=["column", "change"])
            .transform_filter("isValid(datum.change)")
            .transform_calculate(part="datum.column === 'readout_change' ? 'readout' : 'geometry'")
            .properties(width=400, height=180, title=f"trial {place}")
        )
    return finished(alt.hconcat(*panels).resolve_scale(y="shared"))
