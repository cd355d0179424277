"""The last failing trial under η_c of every problem in one figure, in multiples of its initial loss and gap."""

from __future__ import annotations

from typing import Any

import altair as alt

from phantom_dist.reports.figures.chart import finished, tooltip
from phantom_dist.reports.figures.datasets import named
from phantom_dist.reports.figures.figure import Drawing, Figure, Many, Section
from phantom_dist.reports.phrases import count_of, is_finite, value_range
from phantom_dist.reports.rows import UNDER, Row, Rows
from phantom_dist.reports.theme import INK, outcome_dash, outcome_scale


@Drawing
def every_failure(rows: Rows) -> Any | None:
    """Loss and gap of the last failing trial under η_c of every problem, as multiples of their initial size."""
    return _overview(rows, _lines)


@Drawing
def every_failure_many(rows: Rows) -> Any | None:
    """The same as bands: median, middle half and middle nine tenths of all failures."""
    return _overview(rows, _bands)


def _overview(rows: Rows, layers: Any) -> Any | None:
    under = [row for row in rows.steps if row["place"] == UNDER]
    if not under:
        return None
    columns = min(len({row["way"] for row in under}), 4)
    panels = [
        alt.layer(
            *([] if name == "relative_loss" else [_rule()]),
            *layers(rows, name, title),
            data=named("failures"),
        )
        .properties(width=max(410 // columns - 14, 130), height=190)
        .facet(facet=alt.Facet("way:N", title=None), columns=columns)
        for name, title in (("relative_loss", "loss L / L_0"), ("relative_gap", "logit gap g / |g_0|"))
    ]
    return finished(alt.hconcat(*panels) if columns < 3 else alt.vconcat(*panels))


def _progress() -> Any:
    axis = alt.Axis(format="%", values=[0, 0.5, 1], grid=False)
    return alt.X("progress:Q", title="steps taken s / T", axis=axis)


def _lines(rows: Rows, name: str, title: str) -> list[Any]:
    present = {row["outcome"] for row in rows.steps if row["place"] == UNDER}
    base = alt.Chart().encode(x=_progress(), y=alt.Y(f"{name}:Q", title=title))
    colour = alt.Color("outcome:N", title="outcome", scale=outcome_scale(present, 0))
    lines = base.mark_line(strokeWidth=1.6, strokeCap="round", opacity=0.8).encode(
        color=colour,
        strokeDash=outcome_dash(),
        detail="trial_id:N",
        tooltip=tooltip("pair", "way", "model", "ratio", "outcome", "step", "loss", "logit_gap"),
    )
    ends = (
        base.transform_joinaggregate(last="max(step)", groupby=["trial_id"])
        .transform_filter("datum.step === datum.last")
        .mark_point(filled=True, size=30, opacity=0.9)
        .encode(
            color=colour,
            shape=alt.Shape("outcome:N", title="outcome", scale=outcome_scale(present, 1)),
            tooltip=tooltip("pair", "way", "model", "ratio", "outcome", "step", "loss", "logit_gap"),
        )
    )
    return [lines, ends]


def _bands(rows: Rows, name: str, title: str) -> list[Any]:
    base = (
        alt.Chart()
        .transform_filter(f"isValid(datum.{name})")
        .transform_calculate(at="round(datum.progress * 16) / 16")
        .transform_quantile(
            name, groupby=["way", "at"], probs=[0.05, 0.25, 0.5, 0.75, 0.95], as_=["prob", "value"]
        )
        .transform_calculate(key="'q' + round(100 * datum.prob)")
        .transform_pivot("key", value="value", groupby=["way", "at"])
    )
    axis = alt.Axis(format="%", values=[0, 0.5, 1], grid=False)
    x = alt.X("at:Q", title="steps taken s / T", axis=axis)
    band = base.mark_area(tooltip=None).encode(x=x)
    return [
        band.mark_area(opacity=0.2, color=INK, tooltip=None).encode(y=alt.Y("q5:Q", title=title), y2="q95:Q"),
        band.mark_area(opacity=0.3, color=INK, tooltip=None).encode(
            y=alt.Y("q25:Q", title=title), y2="q75:Q"
        ),
        base.mark_line(color=INK, strokeWidth=2).encode(
            x=x, y=alt.Y("q50:Q", title=title), tooltip=tooltip("q5", "q25", "q50", "q75", "q95")
        ),
    ]


def _rule() -> Any:
    return (
        alt.Chart()
        .transform_aggregate(n="count()", groupby=["way"])
        .mark_rule(color=INK, strokeDash=[4, 3], opacity=0.7, tooltip=None)
        .encode(y=alt.datum(0))
    )


def _alt_text(rows: Rows) -> str:
    last: dict[str, Row] = {row["trial_id"]: row for row in rows.steps if row["place"] == UNDER}
    losses = [r["relative_loss"] for r in last.values() if is_finite(r["relative_loss"])]
    gaps = [r["relative_gap"] for r in last.values() if is_finite(r["relative_gap"])]
    every = sum(row["place"] == UNDER for row in rows.trials)
    sampled = "" if len(last) == every else f" of {every}, those whose steps the page contains,"
    return (
        f"In {count_of(list(last), 'failing trial')}{sampled} the loss ends at {value_range(losses)} of its initial "
        f"value and the gap at {value_range(gaps)} of its initial size; the crossing would be at 0."
    )


EVERY_FAILURE = Figure(
    name="every-failure",
    section=Section.SILENT_FAILURE,
    title="The last failure under η_c, for all contexts",
    caption="Left: the loss as a multiple of the untouched model’s; it falls. Right: the gap as a multiple of its "
    "initial size; it narrows but does not end above the dashed line.",
    draw=every_failure,
    alt_text=_alt_text,
    many=Many(
        draw=every_failure_many,
        dataset="failures",
        by="trial_id",
        limit=150,
        note="With this many failures the line is their median, the bands are their middle half and nine tenths.",
    ),
)
