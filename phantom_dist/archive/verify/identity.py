"""Recomputes trial ids from their rows. An id covers settings, weights and tokens, so any edit of these is noticed."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb

from phantom_dist.archive.verify.defect import Defect
from phantom_dist.core.outcome import Thresholds
from phantom_dist.core.schedule import Schedule
from phantom_dist.core.tokens import Tokens
from phantom_dist.core.training_set import TrainingSet
from phantom_dist.core.trial import (
    LORA_PLACES,
    OPTIMIZER_SETTINGS,
    Context,
    Lora,
    Optimizer,
    Problem,
    trial_id,
)
from phantom_dist.spec import SweepSpec, expand

_OPTIMIZER = ("momentum", "weight_decay", "beta1", "beta2", "epsilon")
_SETTINGS = (
    "method", "lora_rank", "lora_alpha", "lora_targets", "lora_rslora", "lora_dropout",
    "optimizer", *_OPTIMIZER, "decay", "schedule",
    "warmup_steps", "steps", "seed", "precision", "gradient_clipping", "early_stopping", "training_set",
    "structural_drag", "jump_threshold", "jump_share_of_range", "synonym_floor_rms",
)  # fmt: skip
_TOKENS = ("prompt_tokens", "target_token", "competitor_token", *Tokens.LATER)
_COLUMNS = ("trial_id", "learning_rate", "problem", "weights", "model", *_SETTINGS)


def check_identities(connection: duckdb.DuckDBPyConnection, specs: Sequence[SweepSpec]) -> Iterator[Defect]:
    """Find trials whose ids don't match their rows, and problems that are in none of the sweeps.

    Args:
        connection: with the views `trials` and `probes`.
        specs: the archive's sweeps.
    """
    expected = {problem.key: problem for spec in specs for problem in expand(spec)}
    probed = connection.execute("SELECT DISTINCT problem FROM probes ORDER BY ALL").fetchall()
    unknown = [key for (key,) in probed if key not in expected]
    if unknown:
        yield Defect(
            "sweeps", f"{len(unknown)} problem(s) are in none of the sweeps; the first: {unknown[0]}"
        )
    columns = ", ".join(
        [*(f"t.{name}" for name in _COLUMNS), *(f"p.{name}" for name in (*_TOKENS, "batches"))]
    )
    cursor = connection.sql(
        f"SELECT {columns} FROM trials t JOIN probes p "
        "ON t.problem = p.problem AND t.weights IS NOT DISTINCT FROM p.weights"
    ).to_arrow_reader(1 << 14)
    wrong, first = 0, ""
    for batch in cursor:
        for row in batch.to_pylist():
            if _id(row, expected) != row["trial_id"]:
                wrong, first = wrong + 1, first or str(row["trial_id"])
    if wrong:
        yield Defect(
            "trials", f"{wrong} trial_id(s) are not the hash of their rows' settings; the first: {first}"
        )


def _id(row: Mapping[str, Any], expected: Mapping[str, Problem]) -> str | None:
    """The id; None if the row's settings are invalid. `expected`: the sweeps' problems by key."""
    try:
        problem = _problem(row["model"], tuple(row[name] for name in _SETTINGS))
        if row["prompt_tokens"] is None:
            # Refused before the tokens were known: the id covers the words of the sweep instead.
            problem = problem.model_copy(update={"context": expected[row["problem"]].context})
            return trial_id(problem, row["weights"], None, row["learning_rate"], row["batches"])
        values = (row[name] for name in _TOKENS)
        tokens = _tokens(*(tuple(value) if isinstance(value, list) else value for value in values))
        return trial_id(problem, row["weights"], tokens, row["learning_rate"], row["batches"])
    except (ValueError, KeyError):
        return None


@functools.lru_cache(maxsize=1024)
def _tokens(prompt: tuple[int, ...], target: int, competitor: int, *later: tuple[int, ...] | None) -> Tokens:
    further = {name: tokens or () for name, tokens in zip(Tokens.LATER, later, strict=True)}
    return Tokens(
        prompt=prompt, target=target, competitor=competitor, target_text="", competitor_text="", **further
    )


@functools.lru_cache(maxsize=1024)
def _problem(model: str, values: tuple[Any, ...]) -> Problem:
    """The problem that a trial's row describes, with a placeholder as its context."""
    s = dict(zip(_SETTINGS, values, strict=True))
    own = OPTIMIZER_SETTINGS[s["optimizer"]]
    # A value for a setting that the optimizer does not have is passed on, so that `Optimizer` refuses it.
    settings = {name: s[name] for name in _OPTIMIZER if name in own or s[name] is not None}
    targets = s["lora_targets"]
    return Problem(
        model=model,
        context=Context(id="c", text="c", target="t"),
        method=s["method"],
        lora=None
        if s["method"] == "full"
        else Lora(
            rank=s["lora_rank"],
            alpha=s["lora_alpha"],
            targets=targets if targets in LORA_PLACES else tuple(targets.split(",")),
            rslora=bool(s["lora_rslora"]),
            dropout=s["lora_dropout"] or 0.0,
        ),
        optimizer=Optimizer(name=s["optimizer"], decay=s["decay"] or "all", **settings),
        schedule=Schedule.from_text(s["schedule"], s["warmup_steps"]),
        steps=s["steps"],
        seed=s["seed"],
        precision=s["precision"],
        gradient_clipping=s["gradient_clipping"],
        early_stopping=bool(s["early_stopping"]),
        training=None if s["training_set"] is None else TrainingSet.from_text(s["training_set"]),
        thresholds=Thresholds(
            structural_drag=s["structural_drag"],
            jump_size=s["jump_threshold"],
            jump_share_of_range=s["jump_share_of_range"],
            synonym_floor_rms=s["synonym_floor_rms"],
        ),
    )
