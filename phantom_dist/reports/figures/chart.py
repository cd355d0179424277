"""Shared parts of charts: configuration, axes, tooltips, zoom, and the order and height of lines."""

from __future__ import annotations

import math
from typing import Any

import altair as alt

from phantom_dist.reports.rows import Rows
from phantom_dist.reports.theme import INK, axis_title, config


def finished(chart: Any) -> Any:
    """The chart with the shared configuration."""
    return chart.properties(config=config())


def tooltip(*fields: str) -> list[Any]:
    """A tooltip of these columns under their own names; numbers with four significant digits."""
    words = {
        "run", "model", "pair", "line", "way", "outcome", "place", "part", "inside", "known", "word", "agreement",
        "did", "happened", "why", "task", "prompts", "recipes",
    }  # fmt: skip
    return [
        alt.Tooltip(f"{field}:N") if field in words else alt.Tooltip(f"{field}:Q", format=".4~g")
        for field in fields
    ]


def zoom(*channels: str) -> Any:
    """Zoom by the wheel with Ctrl (the wheel alone scrolls the page), move by dragging, reset by a double click."""
    return alt.selection_interval(
        name="zoom", bind="scales", encodings=list(channels), zoom="wheel![event.ctrlKey]"
    )


def zero_line() -> Any:
    """The horizontal line at 0."""
    return (
        alt.Chart(alt.InlineData(values=[{"zero": 0}]))
        .mark_rule(color=INK, strokeDash=[4, 3], opacity=0.7, tooltip=None)
        .encode(y="zero:Q")
    )


def step_axis() -> Any:
    """The horizontal axis of optimizer steps: integers, with fewer labels where there are many."""
    axis = alt.Axis(tickMinStep=1, format="d", grid=False, labelOverlap=True)
    return alt.X("step:Q", title=axis_title("step"), axis=axis, scale=alt.Scale(nice=False))


def in_order() -> Any:
    """The order of lines: that of the table of critical rates."""
    return alt.EncodingSortField(field="number", op="min", order="ascending")


MANY_LINES = 60
"""Above this number of lines, a figure over all problems replaces the one with a line for each."""
MANY_PROBLEMS = 400
"""Above this number of problems, boxes and quartiles replace single marks."""


def lines_of(rows: Rows) -> list[str]:
    """The labels of the horizontal lines."""
    return list(dict.fromkeys(row["line"] for row in (*rows.problems, *rows.trials)))


def line_height(rows: Rows) -> Any:
    """The height of a line: smaller where there are many."""
    return alt.Step(24 if len(lines_of(rows)) <= 40 else 16)


def ways_of(rows: Rows) -> list[str]:
    """The ways of training, in order of appearance."""
    return list(dict.fromkeys(row["way"] for row in (*rows.problems, *rows.trials)))


def predicted_ways(rows: Rows) -> list[str]:
    """The ways of training that the law predicted, by method, optimizer and length."""
    ordered = sorted(rows.predictions, key=lambda row: (row["method"], row["optimizer"], row["steps"]))
    return list(dict.fromkeys(row["way"] for row in ordered))


def decades(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten between two rates; only the powers over more than three decades."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if last - first <= 3 else (1,)
    return [m * 10.0**e for e in range(first, last + 1) for m in steps if low <= m * 10.0**e <= high]
