"""The silent failure: the loss falls at every step while the target never overtakes its competitor."""

from __future__ import annotations

from typing import Any

import altair as alt

from phantom_dist.reports.figures.chart import Figure, finished, named, step_axis, tooltip, zero_line
from phantom_dist.reports.rows import UNDER, Rows
from phantom_dist.reports.theme import INK, axis_title, outcome_dash, outcome_scale

_PANELS = ("loss", "logit_gap", "signal", "drag")


@Figure
def silent_failure(rows: Rows) -> Any | None:
    """Loss, gap, signal and drag over steps for the trials around η_c of one problem."""
    if rows.opening is None:
        return None
    loss, gap, signal, drag = (_panel(rows, name) for name in _PANELS)
    # signal and drag add up to Φ, so they share a scale
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
    """The ratio η/η_c at the end of a line: of the last failure, and of others where there is room."""
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


@Figure
def every_failure(rows: Rows) -> Any | None:
    """The last failure under η_c of every problem at once: loss and gap as multiples of their start."""
    return _overview(rows, _lines)


@Figure
def every_failure_many(rows: Rows) -> Any | None:
    """The same as bands: the middle half and the middle nine tenths of all failures, and their median."""
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
