"""The parts of the order parameter's change over a whole trial: readout (probabilities) and geometry (overlaps)."""

from __future__ import annotations

from typing import Any

import altair as alt

from phantom_dist.reports.figures.chart import (
    MANY_LINES,
    finished,
    in_order,
    line_height,
    tooltip,
    ways_of,
    zero_line,
    zoom,
)  # fmt: skip
from phantom_dist.reports.figures.datasets import named
from phantom_dist.reports.figures.figure import Drawing, Figure, Many, Section
from phantom_dist.reports.phrases import count_of, value_range
from phantom_dist.reports.rows import UNDER, Rows
from phantom_dist.reports.theme import INK, part_scale, way_scales


@Drawing
def shares_in_sum(rows: Rows) -> Any | None:
    """Φ_T - Φ_0 of the last failure under η_c as the sum of both parts, with two bars for each context.

    Within a line one part's bar lies above the other's, so that its position identifies it without its colour.
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
                color=alt.Color("part:N", title="part of ΔΦ", scale=part_scale()),
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


@Drawing
def shares_in_sum_many(rows: Rows) -> Any | None:
    """The geometry's part over the readout's, a mark for each last failure under η_c, for sweeps of many problems."""
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


def _alt_text(rows: Rows) -> str:
    under = [row for row in rows.trials if row["place"] == UNDER]
    parts = []
    for method in sorted({row["method"] for row in under}):
        some = [row for row in under if row["method"] == method]
        readout, geometry = ([r[name] for r in some] for name in ("readout_sum", "geometry_sum"))
        parts.append(
            f"{method}: readout's part {value_range(readout)}, geometry's part {value_range(geometry)}"
        )
    return f"In {count_of(under, 'last failure')}, {'; '.join(parts)}."


SHARES_IN_SUM = Figure(
    name="shares-in-sum",
    section=Section.JUMPS,
    title="Readout and geometry, summed over the trial",
    caption="The last failure under η<sub>c</sub> of every context. The bars are the two parts of Φ<sub>T</sub> − "
    "Φ<sub>0</sub>, the tick is their sum. Under LoRA there is no geometry part by construction. Where full "
    "fine-tuning looks the same, the changing overlaps contribute nothing there either (the embedding’s effect on the "
    "logits is inside the readout part).",
    draw=shares_in_sum,
    alt_text=_alt_text,
    many=Many(
        draw=shares_in_sum_many,
        dataset="trials",
        by="line",
        limit=MANY_LINES,
        note="With this many problems each mark is a last failure: the geometry’s part over the readout’s.",
    ),
)
