"""The run's schedule: a line for each worker, a bar for each task, a mark for each failure, copy and restart."""

from __future__ import annotations

from collections import Counter
from typing import Any

import altair as alt

from phantom_dist.reports.figures.chart import finished, tooltip, zoom
from phantom_dist.reports.figures.datasets import named
from phantom_dist.reports.figures.figure import Drawing, Figure, Section
from phantom_dist.reports.phrases import count_of
from phantom_dist.reports.rows import Rows
from phantom_dist.reports.tables import number
from phantom_dist.reports.theme import BLUE, INK, MAROON, ORANGE, SAGE
from phantom_dist.reports.timeline_rows import (
    COPIED,
    HAPPENED,
    NOTHING,
    PROBING,
    RESTARTED,
    TRAINING,
    counted,
    lines,
)
from phantom_dist.scheduling.timeline import End

DID = {TRAINING: BLUE, PROBING: SAGE, NOTHING: ORANGE}
"""Colours of bars. A bar without a result has a mark as well, and tooltips name the colours' meaning."""

MARKS = {
    HAPPENED[End.LOST]: "cross",
    HAPPENED[End.PREEMPTED]: "triangle-down",
    HAPPENED[End.FAILED]: "square",
    HAPPENED[End.OUT_OF_MEMORY]: "wedge",
    HAPPENED[End.STUCK]: "diamond",
    HAPPENED[End.SUPERSEDED]: "circle",
    HAPPENED[End.CUT_OFF]: "triangle-left",
    COPIED: "triangle-up",
}
"""Shapes of marks."""


@Drawing
def timeline(rows: Rows) -> Any | None:
    """Tasks over the time of the run, a line for each worker; None where no run recorded events."""
    if not rows.bars:
        return None
    workers = lines(rows.bars)
    height = 28 if len(workers) <= 12 else 20 if len(workers) <= 40 else 14
    y = alt.Y("line:N", title=None, sort=workers, scale=alt.Scale(domain=workers, padding=0))
    layers = [_bars(rows, y, height)]
    if rows.restarts:
        layers.append(_restarts(rows))
    if rows.marks:
        layers.append(_marks(rows, y, height))
    chart = alt.layer(*layers).resolve_scale(color="independent", shape="independent")
    return finished(chart.properties(width=820, height=alt.Step(height)))


def _bars(rows: Rows, y: Any, height: int) -> Any:
    """Bars in the upper part of each line; marks lie below them, on the background, where every colour is visible."""
    present = [did for did in DID if any(row["did"] == did for row in rows.bars)]
    title = f"time of the run ({rows.time_unit})"
    x = alt.X("begun:Q", title=title, axis=alt.Axis(grid=True), scale=alt.Scale(nice=False))
    colours = alt.Scale(domain=present, range=[DID[did] for did in present])
    return (
        alt.Chart(named("bars"))
        .mark_bar(height=0.5 * height, yOffset=-0.14 * height, x2Offset=-0.7, binSpacing=0)
        .encode(
            x=x,
            x2="ended:Q",
            y=y,
            color=alt.Color("did:N", title="task", scale=colours),
            tooltip=tooltip("line", "did", "model", "task", "attempt", "tasks", "size", "begun", "ended"),
        )
        .add_params(zoom("x"))
    )  # fmt: skip


def _marks(rows: Rows, y: Any, height: int) -> Any:
    present = [name for name in MARKS if any(row["happened"] == name for row in rows.marks)]
    shapes = alt.Scale(domain=present, range=[MARKS[name] for name in present])
    return (
        alt.Chart(named("marks"))
        .mark_point(filled=True, size=2.2 * height, opacity=1, color=MAROON, yOffset=0.3 * height)
        .encode(
            x="at:Q",
            y=y,
            shape=alt.Shape("happened:N", title="what happened", scale=shapes),
            tooltip=tooltip("line", "happened", "why", "model", "task", "attempt", "at"),
        )
    )


def _restarts(rows: Rows) -> Any:
    values = alt.InlineData(values=[{"at": at, "happened": RESTARTED} for at in rows.restarts])
    return (
        alt.Chart(values)
        .mark_rule(color=INK, strokeDash=[4, 3], opacity=0.7)
        .encode(x="at:Q", tooltip=[alt.Tooltip("happened:N")])
    )


def _alt_text(rows: Rows) -> str:
    tasks = Counter[str]()
    for row in rows.bars:
        tasks[row["did"]] += row["tasks"]
    did = ", ".join(f"{count} {name}" for name, count in tasks.most_common())
    happened = ", ".join(f"{count} {name}" for name, count in counted(rows.marks).items()) or "none"
    length = max(row["ended"] for row in rows.bars)
    restarted = f" The driver was restarted {len(rows.restarts)} times." if rows.restarts else ""
    workers = count_of(lines(rows.bars), "worker")
    return (
        f"Lines of {workers} over {number(length, 3)} {rows.time_unit}; tasks: {did}. "
        f"Failures and copies: {happened}.{restarted}"
    )


TIMELINE = Figure(
    name="timeline",
    section=Section.TIMELINE,
    title="Tasks by worker and time",
    caption="Each line is a worker, each bar a task: a probe, or a batch of trials. A mark under the end of a bar "
    "shows why the attempt has no result; its task was run again. In empty stretches the worker waited, or its "
    "process was being replaced. The time between two starts of the driver is left out.",
    draw=timeline,
    alt_text=_alt_text,
)
