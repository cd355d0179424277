"""The silent failure: the loss falls at every step while the target never overtakes its competitor."""

from __future__ import annotations

from typing import Any

import altair as alt

from phantom_dist.reports.figures.chart import finished, named, selector, tooltip
from phantom_dist.reports.rows import UNDER, Rows
from phantom_dist.reports.theme import INK, axis_title, outcome_scale

_PANELS = ("loss", "logit_gap", "signal", "drag")


def silent_failure(rows: Rows) -> Any | None:
    """Loss, gap, signal and drag over steps for the trials around η_c of one problem, chosen from a list."""
    if not rows.steps:
        return None
    choice = selector(rows, "problem_over_steps", "Context and way of training: ")
    loss, gap, signal, drag = (_panel(rows, name, choice) for name in _PANELS)
    # signal and drag add up to Φ, so they share a scale
    parts = alt.hconcat(signal, drag, spacing=65).resolve_scale(y="shared")
    grid = alt.vconcat(alt.hconcat(loss, gap), parts).add_params(choice)
    return finished(grid)


def _panel(rows: Rows, name: str, choice: Any) -> Any:
    lines = (
        alt.Chart(named("steps"))
        .transform_filter(alt.datum.number == choice)
        .mark_line(point={"size": 24, "filled": True}, strokeWidth=1.7, strokeCap="round")
        .encode(
            x=alt.X("step:Q", title=axis_title("step"), axis=alt.Axis(tickMinStep=1, format="d", grid=False)),
            y=alt.Y(f"{name}:Q", title=axis_title(name), scale=alt.Scale(zero=name != "loss")),
            color=alt.Color(
                "outcome:N", title="outcome", scale=outcome_scale({r["outcome"] for r in rows.steps}, 0)
            ),
            detail="trial_id:N",
            tooltip=tooltip("ratio", "learning_rate", "outcome", "place", "step", *_PANELS),
        )
    )
    halo = lines.transform_filter(alt.datum.place == UNDER).mark_line(
        strokeWidth=9, opacity=0.35, strokeCap="round", tooltip=None
    )
    layers = [halo, lines] if name == "loss" else [zero_line(), halo, lines]
    if name in ("loss", "logit_gap"):
        layers.append(_ends(name, choice))
    return alt.layer(*layers).properties(width=385, height=220)


def _ends(name: str, choice: Any) -> Any:
    """The ratio η/η_c at the end of the lines that have room for it."""
    return (
        alt.Chart(named("steps"))
        .transform_filter(alt.datum.number == choice)
        .transform_filter(alt.datum.labelled)
        .transform_joinaggregate(last="max(step)", groupby=["trial_id"])
        .transform_filter("datum.step === datum.last")
        .transform_calculate(words="format(datum.ratio, '.3~r') + ' η_c'")
        .mark_text(align="left", dx=7, fontSize=10.5, color=INK)
        .encode(
            x="step:Q",
            y=f"{name}:Q",
            text="words:N",
        )
    )


def zero_line() -> Any:
    """The horizontal line at 0."""
    return (
        alt.Chart(alt.InlineData(values=[{"zero": 0}]))
        .mark_rule(color=INK, strokeDash=[4, 3], opacity=0.7, tooltip=None)
        .encode(y="zero:Q")
    )


def every_failure(rows: Rows) -> Any | None:
    """The last failure under η_c of every problem at once: loss and gap as multiples of their start."""
    if not any(row["place"] == UNDER for row in rows.steps):
        return None
    panels = [
        _overview(rows, "relative_loss", "loss L / L_0", zero=False),
        _overview(rows, "relative_gap", "logit gap g / |g_0|", zero=True),
    ]
    return finished(alt.hconcat(*panels))


def _overview(rows: Rows, name: str, title: str, *, zero: bool) -> Any:
    under = [row for row in rows.steps if row["place"] == UNDER]
    present, columns = {row["outcome"] for row in under}, min(len({row["way"] for row in under}), 4)
    lines = (
        alt.Chart()
        .mark_line(strokeWidth=1.6, strokeCap="round", opacity=0.8)
        .encode(
            x=alt.X(
                "progress:Q",
                title="steps taken s / T",
                axis=alt.Axis(format="%", values=[0, 0.5, 1], grid=False),
            ),
            y=alt.Y(f"{name}:Q", title=title),
            color=alt.Color("outcome:N", title="outcome", scale=outcome_scale(present, 0)),
            detail="trial_id:N",
            tooltip=tooltip("pair", "way", "model", "ratio", "outcome", "step", "loss", "logit_gap"),
        )
    )
    rule = (
        alt.Chart()
        .transform_aggregate(n="count()", groupby=["way"])
        .mark_rule(color=INK, strokeDash=[4, 3], opacity=0.7, tooltip=None)
        .encode(y=alt.datum(0))
    )
    layers = [rule, lines] if zero else [lines]
    return (
        alt.layer(*layers, data=named("steps"))
        .transform_filter(alt.datum.place == UNDER)
        .properties(width=410 // columns - 14, height=190)
        .facet(facet=alt.Facet("way:N", title=None), columns=columns)
    )
