"""Rows about trainings on a training set: how many words each taught, and where tools' default rates lie."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from phantom_dist.core.outcome import Outcome
from phantom_dist.spec import default_rates

Row = dict[str, Any]

IN_DATA, HELD_OUT = "prompts in the data", "held-out prompts"


def training_rows(trials: Iterable[Row]) -> list[Row]:
    """Up to two rows for each training: the share learnt of the prompts in the data, and of those held out.

    `training_loss` is that of the end; None where it is not finite.
    """
    watched: dict[tuple[Any, ...], list[Row]] = {}
    for row in trials:
        if row.get("training_id") is not None:
            key = (row["run"], row["training_id"], HELD_OUT if row.get("held_out") else IN_DATA)
            watched.setdefault(key, []).append(row)
    return [
        {name: group[0][name] for name in ("run", "model", "way", "learning_rate")}
        | {
            "prompts": prompts,
            "learnt": sum(row["outcome"] == Outcome.COMMITTED.value for row in group) / len(group),
            "watched": len(group),
            "training_loss": group[0]["training_loss_last"],
        }
        for (_, _, prompts), group in watched.items()
    ]


def default_rows(trials: Sequence[Row]) -> list[Row]:
    """The default rates of recipes with one of the methods here, each with the names of its recipes."""
    methods = {row["method"] for row in trials if row.get("training_id") is not None}
    return [{"learning_rate": rate, "recipes": names} for rate, names in default_rates(methods)]
