"""The parts of each step's change of the order parameter: readout (probabilities) and geometry (overlaps)."""

from __future__ import annotations

from typing import Any

import altair as alt

from phantom_dist.reports.figures.chart import finished, tooltip, zero_line
from phantom_dist.reports.figures.datasets import named
from phantom_dist.reports.figures.figure import Drawing, Figure, Section
from phantom_dist.reports.rows import OVER, UNDER, Rows
from phantom_dist.reports.tables import number
from phantom_dist.reports.theme import axis_title, part_scale


@Drawing
def shares_by_step(rows: Rows) -> Any | None:
    """Both parts of the change of Φ at each step, for the two trials of one bracket.

    The step axis is quantitative rather than nominal: with many steps its labels thin out and bars get narrow, without
    overlaps.
    """
    if not any(row["place"] != "other" for row in rows.steps):
        return None
    panels = []
    for place in (UNDER, OVER):
        # Each part has its own half of the step, so that its position identifies it without its colour.
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
                color=alt.Color("part:N", title="part of ΔΦ", scale=part_scale()),
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


def _alt_text(rows: Rows) -> str:
    bracket = [r for r in rows.trials if r["number"] == rows.opening and r["place"] in (UNDER, OVER)]
    parts = [
        f"{row['place']}, in sum readout {number(row['readout_sum'], 3)} and geometry {number(row['geometry_sum'], 3)}"
        for row in bracket
    ]
    return f"For {bracket[0]['label']}: {'; '.join(parts)}." if bracket else "The page shows no bracket."


SHARES_BY_STEP = Figure(
    name="shares-by-step",
    section=Section.JUMPS,
    title="Readout and geometry, step by step",
    caption="The two trials that bracket η<sub>c</sub>, one just under and one just over it. Bars above 0 move Φ "
    "towards the target.",
    draw=shares_by_step,
    alt_text=_alt_text,
)
