"""The page's data: each table once, shared by all figures and the player."""

from __future__ import annotations

from typing import Any

from phantom_dist.reports.column_codec import encode
from phantom_dist.reports.comparison import compared
from phantom_dist.reports.figures.datasets import DATASETS
from phantom_dist.reports.rows import Rows, columns

_WHO = ("run", "model", "pair", "line", "way", "method", "number")

COLUMNS: dict[str, tuple[str, ...]] = {
    "problems": (
        *_WHO, "label", "eta_c", "first_order_rate", "pi_c", "gap_0", "kappa", "trials_used", "drawn", "target",
        "competitor",
    ),
    "trials": (
        *_WHO, "steps", "learning_rate", "ratio", "outcome", "silent", "place", "near", "loss_0", "gap_0",
        "gap_final", "loss_final", "pi", "jump_step", "jump_size", "jump_readout_share", "readout_sum", "geometry_sum",
    ),
    "steps": (
        "trial", "step", "loss", "logit_gap", "p_target", "p_competitor", "signal", "drag", "readout_change",
        "geometry_change",
    ),
    "predictions": DATASETS["predictions"],
    "compared": DATASETS["compared"],
    "trainings": DATASETS["trainings"],
    "defaults": DATASETS["defaults"],
    "bars": DATASETS["bars"],
    "marks": DATASETS["marks"],
}  # fmt: skip
"""The columns of each table; `script/store.js` computes the derived ones."""


def page_data(rows: Rows) -> dict[str, Any]:
    """The encoded tables. `steps` refers to its trial by the index in `trials`; a trial's steps are contiguous."""
    place = {(row["run"], row["trial_id"]): i for i, row in enumerate(rows.trials)}
    steps = [row | {"trial": place[row["run"], row["trial_id"]]} for row in rows.steps]
    tables = {
        "problems": rows.problems,
        "trials": rows.trials,
        "steps": steps,
        "predictions": rows.predictions,
        "compared": compared(rows),
        "trainings": rows.trainings,
        "defaults": rows.defaults,
        "bars": rows.bars,
        "marks": rows.marks,
    }
    return {name: encode(columns(table, *COLUMNS[name]), COLUMNS[name]) for name, table in tables.items()}
