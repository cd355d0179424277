"""Rows about trainings on a training set: how many words each taught, and where tools' default rates lie."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from phantom_dist.core.outcome import Outcome
from phantom_dist.spec import recipe_named, recipe_names

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
    names: dict[float, list[str]] = {}
    for recipe in map(recipe_named, recipe_names()):
        trained = {
            method if isinstance(method, str) else next(iter(method)) for method in recipe.sweep["methods"]
        }
        if recipe.learning_rate is not None and trained & methods:
            names.setdefault(recipe.learning_rate, []).append(recipe.name)
    return [{"learning_rate": rate, "recipes": ", ".join(sorted(of))} for rate, of in sorted(names.items())]
