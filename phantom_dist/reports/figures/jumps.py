"""Jumps of the order parameter: their size, and the softmax readout's share of each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt

from phantom_dist.reports.figures.chart import finished, tooltip, zoom
from phantom_dist.reports.figures.datasets import named
from phantom_dist.reports.figures.figure import Drawing, Figure, Section
from phantom_dist.reports.phrases import count_of, is_finite, value_range
from phantom_dist.reports.rows import Row, Rows, plain
from phantom_dist.reports.theme import INK, axis_title, outcome_scale


@Drawing
def jumps(rows: Rows) -> Any | None:
    """Size of every trial's largest jump over the readout's share of it, full fine-tuning beside LoRA."""
    jumped = [
        row for row in rows.trials if row.get("jump_step") is not None and plain(row["jump_size"]) is not None
    ]
    if not jumped:
        return None
    shares = alt.Scale(domain=_around_one(jumped), nice=False, zero=False)
    tallest = 1.15 * max(row["jump_size"] for row in jumped)
    present = {row["outcome"] for row in jumped}
    points = (
        alt.Chart()
        .mark_point(filled=True, size=70, opacity=0.8)
        .encode(
            x=alt.X(
                "jump_readout_share:Q",
                title=axis_title("jump_readout_share"),
                scale=shares,
            ),
            y=alt.Y("jump_size:Q", title=axis_title("jump_size"), scale=alt.Scale(domain=[0, tallest])),
            color=alt.Color("outcome:N", title="outcome", scale=outcome_scale(present, 0)),
            shape=alt.Shape("outcome:N", title="outcome", scale=outcome_scale(present, 1)),
            tooltip=tooltip(
                "pair", "way", "model", "outcome", "ratio", "jump_step", "jump_size", "jump_readout_share"
            ),
        )
    )
    rule = (
        alt.Chart()
        .transform_aggregate(n="count()", groupby=["method"])
        .mark_rule(color=INK, strokeDash=[4, 3], opacity=0.7, tooltip=None)
        .encode(x=alt.XDatum(1, scale=shares))
    )
    grid = (
        alt.layer(rule, points.add_params(zoom("x", "y")), data=named("trials"))
        .transform_filter("isValid(datum.jump_size)")
        .properties(width=400, height=230)
        .facet(column=alt.Column("method:N", title=None))
    )
    return finished(grid)


def _around_one(jumped: Sequence[Row]) -> list[float]:
    """A range around 1 that contains every share, so that shares of exactly 1 lie in the middle."""
    shares = [row["jump_readout_share"] for row in jumped if plain(row["jump_readout_share"]) is not None]
    reach = 1.1 * max([0.05, *(abs(share - 1) for share in shares)])
    return [1 - reach, 1 + reach]


def _alt_text(rows: Rows) -> str:
    parts = []
    for method in sorted({row["method"] for row in rows.trials}):
        jumped = [r for r in rows.trials if r["method"] == method and r.get("jump_step") is not None]
        shares = [r["jump_readout_share"] for r in jumped if is_finite(r["jump_readout_share"])]
        sizes = [r["jump_size"] for r in jumped if is_finite(r["jump_size"])]
        parts.append(
            f"{method}: {count_of(jumped, 'jump')} of size {value_range(sizes)}, "
            f"the readout's share {value_range(shares)}"
            if sizes
            else f"{method}: no jump"
        )
    return "; ".join(parts) + "."


JUMPS = Figure(
    name="jumps",
    section=Section.JUMPS,
    title="The jumps",
    caption="Each mark is a trial’s largest jump of Φ between two steps. On the dashed line the softmax readout made "
    "the whole jump; to the left of it the geometry contributed, to the right it worked against the jump.",
    draw=jumps,
    alt_text=_alt_text,
)
