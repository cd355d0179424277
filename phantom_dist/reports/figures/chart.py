"""What the figures share: named datasets that are inlined once, the selector, the finished chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from phantom_dist.reports.predictions import GROUPS
from phantom_dist.reports.rows import UNDER, Row, Rows, columns
from phantom_dist.reports.theme import config

DATASETS: dict[str, tuple[str, ...]] = {
    "problems": (
        "run", "model", "pair", "line", "way", "method", "eta_c", "first_order_rate", "pi_c", "gap_0",
        "kappa", "trials_used",
    ),
    "trials": (
        "run", "model", "pair", "line", "way", "method", "learning_rate", "ratio", "log_ratio", "outcome",
        "silent", "gap_0", "gap_final", "relative_final_gap", "loss_final", "pi",
        "jump_step", "jump_size", "jump_readout_share",
    ),
    "predictions": (
        "run", "model", "pair", "line", "way", "eta_c", "predicted", "found_ratio", "residual", "low_ratio",
        "high_ratio", "inside", "known", *GROUPS,
    ),
    "steps": (
        "run", "model", "pair", "line", "way", "method", "number", "trial_id", "learning_rate", "ratio",
        "place", "labelled", "outcome", "step", "progress", "loss", "logit_gap", "order_parameter", "signal", "drag",
        "readout_change", "geometry_change", "relative_loss", "relative_gap",
    ),
}  # fmt: skip
"""The columns of every dataset that the figures may name; nothing else enters the page."""


def dataset(rows: Rows, name: str) -> list[Row]:
    """The rows of a named dataset as JSON can hold them."""
    source = {
        "problems": rows.found,
        "trials": rows.trials,
        "steps": rows.steps,
        "predictions": rows.predictions,
    }[name]
    return columns(source, *DATASETS[name])


def named(name: str) -> Any:
    """A reference to a dataset by its name."""
    return alt.NamedData(name=name)


def finished(chart: Any) -> Any:
    """The chart with the shared configuration; its datasets are named, `specification` adds them."""
    return chart.properties(config=config())


def specification(chart: Any, datasets: Mapping[str, Sequence[Row]]) -> dict[str, Any]:
    """The chart's Vega-Lite specification with these rows as its named datasets.

    The rows don't pass through Altair, which would check and copy each of them.
    """
    made: dict[str, Any] = chart.to_dict()
    return made | {"datasets": made.get("datasets", {}) | dict(datasets)}


def selector(rows: Rows, name: str, label: str) -> Any:
    """A list of the problems that are drawn step by step; it opens at the first with a silent failure."""
    drawn = [row for row in rows.problems if row["drawn"]]
    silent = {row["number"] for row in rows.trials if row["place"] == UNDER and row.get("silent")}
    first = next((row for row in drawn if row["number"] in silent), drawn[0])
    choice = alt.binding_select(
        options=[row["number"] for row in drawn], labels=[row["label"] for row in drawn], name=label
    )
    return alt.param(name=name, bind=choice, value=first["number"])


def tooltip(*fields: str) -> list[Any]:
    """A tooltip of these columns, by their own names; numbers with four significant digits."""
    words = {"run", "model", "pair", "line", "way", "outcome", "place", "part", "inside", "known"}
    return [
        alt.Tooltip(f"{field}:N") if field in words else alt.Tooltip(f"{field}:Q", format=".4~g")
        for field in fields
    ]


def lines_of(rows: Rows) -> list[str]:
    """The horizontal lines of marks, in the order of the table of critical rates."""
    return list(dict.fromkeys(row["line"] for row in (*rows.problems, *rows.trials)))


def line_height(rows: Rows) -> Any:
    """The height of a line: closer together where there are many."""
    return alt.Step(24 if len(lines_of(rows)) <= 40 else 14)
