"""The silent failure: the loss falls at every step while the target never overtakes its competitor."""

from __future__ import annotations

from typing import Any

import altair as alt

from phantom_dist.reports.figures.chart import finished, step_axis, tooltip, zero_line
from phantom_dist.reports.figures.datasets import named
from phantom_dist.reports.figures.figure import Drawing, Figure, Section
from phantom_dist.reports.phrases import count_of
from phantom_dist.reports.rows import AROUND, UNDER, Rows
from phantom_dist.reports.tables import number
from phantom_dist.reports.theme import INK, axis_title, outcome_dash, outcome_scale

_PANELS = ("loss", "logit_gap", "signal", "drag")


@Drawing
def silent_failure(rows: Rows) -> Any | None:
    """Loss, gap, signal and drag over steps for the trials around η_c of one problem."""
    if rows.opening is None:
        return None
    loss, gap, signal, drag = (_panel(rows, name) for name in _PANELS)
    # Signal and drag add up to Φ, so they share a scale.
    parts = alt.hconcat(signal, drag, spacing=65).resolve_scale(y="shared")
    return finished(alt.vconcat(alt.hconcat(loss, gap), parts))


def _panel(rows: Rows, name: str) -> Any:
    present = {row["outcome"] for row in rows.steps}
    colour = alt.Color("outcome:N", title="outcome", scale=outcome_scale(present, 0))
    base = alt.Chart(named("detail")).encode(
        x=step_axis(),
        y=alt.Y(f"{name}:Q", title=axis_title(name), scale=alt.Scale(zero=name != "loss")),
    )
    lines = base.mark_line(strokeWidth=1.7, strokeCap="round", tooltip=None).encode(
        color=colour,
        strokeDash=outcome_dash(),
        detail="trial_id:N",
    )
    halo = (
        base.transform_filter(alt.datum.place == UNDER)
        .mark_line(strokeWidth=9, opacity=0.35, strokeCap="round", tooltip=None)
        .encode(color=colour, detail="trial_id:N")
    )
    # On a long trial a mark at every step would hide the line.
    marks = (
        base.transform_joinaggregate(last="max(step)", groupby=["trial_id"])
        .transform_filter("datum.step % ceil((datum.last + 1) / 17) === 0")
        .mark_point(filled=True, size=30, opacity=1)
        .encode(
            color=colour,
            shape=alt.Shape("outcome:N", title="outcome", scale=outcome_scale(present, 1)),
            tooltip=tooltip("ratio", "learning_rate", "outcome", "place", "step", *_PANELS),
        )
    )
    layers = [halo, lines, marks] if name == "loss" else [zero_line(), halo, lines, marks]
    if name in ("loss", "logit_gap"):
        layers.append(_ends(name))
    return alt.layer(*layers).properties(width=385, height=220)


def _ends(name: str) -> Any:
    """Labels with η/η_c at the ends of lines: of the last failure, and of others where there is room."""
    apart = "0.06 * (datum.highest - datum.lowest)"
    return (
        alt.Chart(named("detail"))
        .transform_filter(f"isValid(datum.{name})")
        .transform_joinaggregate(lowest=f"min({name})", highest=f"max({name})")
        .transform_joinaggregate(last="max(step)", groupby=["trial_id"])
        .transform_filter("datum.step === datum.last")
        .transform_calculate(named=f"datum.place === '{UNDER}' ? datum.{name} : null")
        .transform_joinaggregate(failure="max(named)")
        .transform_window([{"op": "lag", "field": name, "as": "below"}], sort=[{"field": name}])
        .transform_filter(
            f"isValid(datum.named) || (datum.{name} - datum.below >= {apart} || !isValid(datum.below)) "
            f"&& (!isValid(datum.failure) || abs(datum.{name} - datum.failure) >= {apart})"
        )
        .transform_calculate(
            words="isValid(datum.ratio) ? format(datum.ratio, '.3~r') + ' η_c' "
            ": 'η = ' + format(datum.learning_rate, '.2~e')"
        )
        .mark_text(align="left", dx=7, fontSize=10.5, color=INK)
        .encode(x="step:Q", y=f"{name}:Q", text="words:N")
    )


def _alt_text(rows: Rows) -> str:
    own = [row for row in rows.trials if row["number"] == rows.opening]
    near = [row for row in own if row["near"] is not None and row["near"] < AROUND]
    under = next((r for r in near if r["place"] == UNDER), None)
    shown = f"For {near[0]['label']}: {count_of(near, 'trial')} over the steps."
    if under is None:
        return shown
    return (
        f"{shown} At {number(under['ratio'], 3)} η_c the loss goes from {number(under['loss_0'], 3)} to "
        f"{number(under['loss_final'], 3)} nat while the gap ends at {number(under['gap_final'], 3)} logits, "
        f"{'still below' if under['gap_final'] <= 0 else 'above'} zero: {under['outcome']}."
    )


SILENT_FAILURE = Figure(
    name="silent-failure",
    section=Section.SILENT_FAILURE,
    title="Loss, gap, signal and drag around η_c",
    caption="Each line is a trial; the number at its end is its learning rate in units of η<sub>c</sub>. The wide "
    "band marks the last failure under η<sub>c</sub>: its loss falls like that of the others, but its logit gap "
    "stays below the dashed line at 0. Signal and drag share a scale because they add up to the order "
    "parameter Φ: a falling drag makes a failure structural, a signal that stays small makes it kinematic.",
    draw=silent_failure,
    alt_text=_alt_text,
)
