"""Trainings that the monitor watched: the loss may fall in all of them; gap, signal and drag distinguish them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt

from phantom_dist.reports.figures.chart import finished, tooltip, zero_line
from phantom_dist.reports.theme import INK, MAROON, WAYS, axis_title
from phantom_dist.traces.monitor_log import MonitorRecord

PANELS = ("loss", "logit_gap", "signal", "drag")
_DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])


def monitored(records: Mapping[str, MonitorRecord]) -> Any | None:
    """Loss, gap, signal and drag over steps, a column for each training, a line for each context.

    Args:
        records: the monitor's records by the title of their column (`phantom_dist.open_monitor_log` reads them).

    A vertical rule marks each step at which the monitor warned. None where no record has a look.
    """
    shown = {title: record for title, record in records.items() if record.looks}
    if not shown:
        return None
    contexts = sorted({row["context"] for record in shown.values() for row in record.looks})
    rows = [
        alt.hconcat(*(_panel(title, record, name, contexts) for title, record in shown.items()))
        .resolve_scale(y="shared")
        .properties(spacing=40)
        for name in PANELS
    ]
    return finished(alt.vconcat(*rows).resolve_scale(color="shared", strokeDash="shared"))


def _panel(title: str, record: MonitorRecord, name: str, contexts: list[str]) -> Any:
    keep = ("context", "step", *PANELS)
    looks = alt.InlineData(values=[{key: row.get(key) for key in keep} for row in record.looks])
    steps = alt.X("step:Q", title=axis_title("step"), axis=alt.Axis(format="d", grid=False))
    lines = (
        alt.Chart(looks)
        .mark_line(strokeWidth=1.8, strokeCap="round", point={"size": 18, "filled": True})
        .encode(
            x=steps,
            y=alt.Y(f"{name}:Q", title=axis_title(name), scale=alt.Scale(zero=name != "loss")),
            color=alt.Color(
                "context:N",
                title="context",
                scale=alt.Scale(domain=contexts, range=[WAYS[i % len(WAYS)] for i in range(len(contexts))]),
            ),
            strokeDash=alt.StrokeDash(
                "context:N",
                title="context",
                scale=alt.Scale(
                    domain=contexts, range=[_DASHES[i % len(_DASHES)] for i in range(len(contexts))]
                ),
            ),
            tooltip=tooltip("step", *PANELS),
        )
    )
    layers = [lines] if name == "loss" else [zero_line(), lines]
    if record.warnings:
        layers.append(_warned(record, label=name == "logit_gap"))
    head = title if name == PANELS[0] else ""
    return alt.layer(*layers).properties(width=330, height=150, title=head)


def _warned(record: MonitorRecord, *, label: bool) -> Any:
    by_step: dict[int, list[str]] = {}
    for row in record.warnings:
        by_step.setdefault(row["step"], []).append(f"{row['context']}: {row['kind']}")
    last = max(row["step"] for row in record.looks)
    layers = []
    for step, words in by_step.items():
        values = alt.InlineData(values=[{"step": step, "words": ["warned", *words]}])
        base = alt.Chart(values).encode(x="step:Q")
        layers.append(base.mark_rule(color=MAROON, strokeWidth=1.6).encode(tooltip="words:N"))
        if label:
            late = step > last / 2  # the label stands on the side with more room
            text = base.mark_text(
                align="right" if late else "left", dx=-5 if late else 5, y=8, color=INK, fontSize=11
            )
            layers.append(text.encode(text="words:N"))
    return alt.layer(*layers)
