"""A trial's id, made anew from its row: it covers settings, weights and tokens, so no edit of them stays unnoticed."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import duckdb

from phantom_dist.archive.defect import Defect
from phantom_dist.core.outcome import Thresholds
from phantom_dist.core.trial import (
    OPTIMIZER_SETTINGS,
    Context,
    Lora,
    Optimizer,
    Problem,
    Schedule,
    Tokens,
    trial_id,
)
from phantom_dist.spec import SweepSpec, expand

_OPTIMIZER = ("momentum", "weight_decay", "beta1", "beta2", "epsilon")
_SETTINGS = (
    "method", "lora_rank", "lora_alpha", "lora_targets", "optimizer", *_OPTIMIZER, "schedule", "warmup_steps", "steps",
    "seed", "precision", "structural_drag", "jump_threshold", "jump_share_of_range", "synonym_floor_rms",
)  # fmt: skip
_TOKENS = ("prompt_tokens", "target_token", "competitor_token")
_COLUMNS = ("trial_id", "learning_rate", "problem", "weights", "model", *_SETTINGS)


def check_identities(connection: duckdb.DuckDBPyConnection, specs: Sequence[SweepSpec]) -> Iterator[Defect]:
    """The trials whose ids are not what their rows amount to, and problems that no sweep asked for.

    Args:
        connection: with the views `trials` and `probes`.
        specs: the archive's sweeps.
    """
    asked = {problem.key: problem for spec in specs for problem in expand(spec)}
    probed = connection.execute("SELECT DISTINCT problem FROM probes ORDER BY ALL").fetchall()
    strangers = [key for (key,) in probed if key not in asked]
    if strangers:
        yield Defect(
            "sweeps", f"{len(strangers)} problem(s) that no sweep asks for; the first: {strangers[0]}"
        )
    columns = ", ".join([*(f"t.{name}" for name in _COLUMNS), *(f"p.{name}" for name in _TOKENS)])
    cursor = connection.sql(
        f"SELECT {columns} FROM trials t JOIN probes p "
        "ON t.problem = p.problem AND t.weights IS NOT DISTINCT FROM p.weights"
    ).to_arrow_reader(1 << 14)
    wrong, first = 0, ""
    for batch in cursor:
        for row in batch.to_pylist():
            if _id(row, asked) != row["trial_id"]:
                wrong, first = wrong + 1, first or str(row["trial_id"])
    if wrong:
        yield Defect(
            "trials", f"{wrong} trial_id(s) are not the hash of what their rows say; the first: {first}"
        )


def _id(row: Mapping[str, Any], asked: Mapping[str, Problem]) -> str | None:
    """The id; None where the row's settings are none."""
    try:
        if row["weights"] is None or row["prompt_tokens"] is None:
            # refused before the model or its tokens were known: the words of the sweep define it
            return trial_id(asked[row["problem"]], row["weights"], None, row["learning_rate"])
        tokens = _tokens(tuple(row["prompt_tokens"]), row["target_token"], row["competitor_token"])
        problem = _problem(row["model"], tuple(row[name] for name in _SETTINGS))
        return trial_id(problem, row["weights"], tokens, row["learning_rate"])
    except (ValueError, KeyError):
        return None


@functools.lru_cache(maxsize=1024)
def _tokens(prompt: tuple[int, ...], target: int, competitor: int) -> Tokens:
    return Tokens(prompt=prompt, target=target, competitor=competitor, target_text="", competitor_text="")


@functools.lru_cache(maxsize=1024)
def _problem(model: str, values: tuple[Any, ...]) -> Problem:
    """The problem as its trials' rows say; its context counts by its tokens only."""
    s = dict(zip(_SETTINGS, values, strict=True))
    own = OPTIMIZER_SETTINGS[s["optimizer"]]
    # A value that the optimizer has no setting for is passed on, and refused.
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
            targets="attention" if targets == "attention" else tuple(targets.split(",")),
        ),
        optimizer=Optimizer(name=s["optimizer"], **settings),
        schedule=Schedule(name=s["schedule"], warmup_steps=s["warmup_steps"]),
        steps=s["steps"],
        seed=s["seed"],
        precision=s["precision"],
        thresholds=Thresholds(
            structural_drag=s["structural_drag"],
            jump_size=s["jump_threshold"],
            jump_share_of_range=s["jump_share_of_range"],
            synonym_floor_rms=s["synonym_floor_rms"],
        ),
    )
