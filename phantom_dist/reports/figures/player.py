"""One trial, step by step: how the predicted distribution moves between target, competitor and all other tokens."""

from __future__ import annotations

import math
from typing import Any

import altair as alt

from phantom_dist.reports.figures.chart import finished, step_axis, tooltip, zero_line
from phantom_dist.reports.figures.datasets import named
from phantom_dist.reports.figures.figure import Drawing, Figure, Section
from phantom_dist.reports.rows import Rows
from phantom_dist.reports.theme import BLUE, INK, MAROON, ORANGE, WORDS, axis_title

TOP = math.sqrt(3) / 2
"""Height of the triangle of side 1."""

_HERE = "datum.step === shown_step"
_PARTS = {"order_parameter": BLUE, "signal": ORANGE, "drag": MAROON}


@Drawing
def player(rows: Rows) -> Any | None:
    """The distribution in a triangle and as bars; Φ, signal, drag and gap beside it; a slider for the step."""
    if rows.opening is None:
        return None
    longest = max(row["step"] for row in rows.steps)
    step = alt.param(
        name="shown_step", value=0, bind=alt.binding_range(min=0, max=longest, step=1, name="step ")
    )
    left = alt.vconcat(_triangle(), _bars(), spacing=24)
    right = alt.vconcat(_parts(), _gap(), spacing=14)
    return finished(
        alt.hconcat(left, right, spacing=40)
        .resolve_scale(color="independent", strokeDash="independent")
        .add_params(step)
    )


def _triangle() -> Any:
    """Corners: all probability on the target, the competitor, or other tokens. In the left half the target leads."""
    corners = [
        {"x": 0.0, "y": 0.0, "i": 0, "word": "target", "align": "left"},
        {"x": 1.0, "y": 0.0, "i": 1, "word": "competitor", "align": "right"},
        {"x": 0.5, "y": TOP, "i": 2, "word": "all other tokens", "align": "center"},
    ]
    square = alt.Scale(domain=[-0.02, 1.02], nice=False)
    tall = alt.Scale(domain=[-0.12, TOP + 0.1], nice=False)

    def at(data: Any) -> Any:
        x = alt.X("x:Q", axis=None, scale=square)
        return alt.Chart(data).encode(x=x, y=alt.Y("y:Q", axis=None, scale=tall))

    frame = at(alt.InlineData(values=[*corners, corners[0] | {"i": 3}]))
    edges = frame.mark_line(color=INK, opacity=0.6, strokeWidth=1.2, tooltip=None).encode(order="i:O")
    middle = at(alt.InlineData(values=[{"x": 0.5, "y": 0}, {"x": 0.5, "y": TOP}])).mark_line(
        color=INK, strokeDash=[4, 3], opacity=0.6, tooltip=None
    )
    names = [
        at(alt.InlineData(values=[corner])).mark_text(
            align=corner["align"], dy=14 if corner["y"] == 0 else -9, fontSize=12, color=INK, tooltip=None
        ).encode(text="word:N")
        for corner in corners
    ]  # fmt: skip
    trial = at(named("played")).transform_calculate(
        x="datum.p_competitor + datum.rest / 2", y=f"datum.rest * {TOP:.6f}"
    )
    past = trial.transform_filter("datum.step <= shown_step")
    path = past.mark_line(color=BLUE, strokeWidth=2, tooltip=None).encode(order="step:Q")
    steps = past.mark_point(filled=True, size=22, color=BLUE, opacity=0.9).encode(tooltip=_tip())
    here = trial.transform_filter(_HERE).mark_point(
        filled=True, size=170, color=BLUE, stroke=INK, strokeWidth=1.5, opacity=1
    )
    return alt.layer(edges, middle, *names, path, steps, here.encode(tooltip=_tip())).properties(
        width=300, height=290, title="the distribution: dashed, p_t = p_c"
    )


def _bars() -> Any:
    names = list(WORDS)
    base = (
        alt.Chart(named("played"))
        .transform_filter(_HERE)
        .transform_fold(["p_target", "p_competitor", "rest"], as_=["column", "p"])
        .transform_calculate(
            word=f"{{p_target: '{names[0]}', p_competitor: '{names[1]}', rest: '{names[2]}'}}[datum.column]"
        )
    )
    x = alt.X("p:Q", title="probability", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(tickCount=3))
    y = alt.Y("word:N", title=None, sort=names)
    scale = alt.Scale(domain=names, range=list(WORDS.values()))
    bars = base.mark_bar(height=15).encode(
        x=x, y=y, color=alt.Color("word:N", scale=scale, legend=None), tooltip=tooltip("word", "p")
    )
    text = base.mark_text(align="left", dx=4, color=INK, tooltip=None).encode(
        x=alt.X("p:Q"), y=y, text=alt.Text("p:Q", format=".3~g")
    )
    return alt.layer(bars, text).properties(width=205, height=75)


def _parts() -> Any:
    """Φ, signal and drag over all steps, with the current step; the legend distinguishes the lines by dash as well."""
    names = list(_PARTS)
    base = (
        alt.Chart(named("played"))
        .transform_fold(names, as_=["part", "value"])
        .transform_calculate(part="replace(datum.part, '_', ' ')")
    )
    words = [name.replace("_", " ") for name in names]
    x = step_axis()
    y = alt.Y("value:Q", title="Φ = signal σ + drag δ")
    lines = base.mark_line(strokeWidth=2, tooltip=None).encode(
        x=x,
        y=y,
        color=alt.Color("part:N", title=None, scale=alt.Scale(domain=words, range=list(_PARTS.values()))),
        strokeDash=alt.StrokeDash(
            "part:N", title=None, scale=alt.Scale(domain=words, range=[[1, 0], [6, 3], [2, 2]])
        ),
    )
    here = base.transform_filter(_HERE).mark_point(filled=True, size=70, opacity=1).encode(
        x=x, y=y, color=alt.Color("part:N", title=None), tooltip=tooltip("part", "step", "value")
    )  # fmt: skip
    return alt.layer(zero_line(), lines, here, _now()).properties(width=420, height=215)


def _gap() -> Any:
    base = alt.Chart(named("played")).encode(
        x=step_axis(), y=alt.Y("logit_gap:Q", title=axis_title("logit_gap"))
    )
    line = base.mark_line(color=INK, strokeWidth=2, tooltip=None)
    here = base.transform_filter(_HERE).mark_point(filled=True, size=70, color=INK, opacity=1)
    return alt.layer(zero_line(), line, here.encode(tooltip=_tip()), _now()).properties(width=420, height=130)


def _now() -> Any:
    return (
        alt.Chart(named("played"))
        .transform_filter(_HERE)
        .mark_rule(color=INK, opacity=0.6, tooltip=None)
        .encode(x="step:Q")
    )


def _tip() -> list[Any]:
    return tooltip(
        "step", "p_target", "p_competitor", "rest", "logit_gap", "order_parameter", "signal", "drag"
    )


def _alt_text(rows: Rows) -> str:
    return (
        "A triangle whose corners are the target, the competitor and all other tokens, in which a point moves from "
        "step to step; bars of the three probabilities; lines of the order parameter, signal, drag and logit gap. The "
        "sentence above the figure gives the same numbers for the current step."
    )


PLAYER = Figure(
    name="player",
    section=Section.SILENT_FAILURE,
    title="How the predicted distribution moves",
    caption="The point starts at the untouched model’s distribution and moves with each optimizer step. The trial "
    "commits when the point crosses the dashed line from the competitor’s half into the target’s. A falling loss "
    "alone only means that the point moves away from the top or the right. Φ is the sum of signal and drag at "
    "every step.",
    draw=player,
    alt_text=_alt_text,
)
