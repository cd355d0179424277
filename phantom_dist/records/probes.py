"""Rows of the table `probes/`: encode and decode the result of a probe, measured or refused."""

from __future__ import annotations

import dataclasses

from phantom_dist.core.outcome import Outcome
from phantom_dist.core.probe_result import (
    Measured,
    ModelReading,
    PairReading,
    PathProbe,
    ProbeResult,
    Refused,
    SetProbe,
)
from phantom_dist.core.tokens import Tokens
from phantom_dist.core.trial import ModelIdentity, Problem
from phantom_dist.instruments.effective_steps import effective_steps
from phantom_dist.records.problems import problem_row
from phantom_dist.records.row import Row

_PAIR_COLUMNS = tuple(field.name for field in dataclasses.fields(PairReading) if field.name != "tokens")
"""Fields of `PairReading` that are columns of the same name."""


_BATCH_COLUMNS = ("batches", "examples_used", "examples_cut")
"""Fields of `ModelReading` about a training set that are columns of the same name."""

_SET_COLUMNS = ("share", "drawn", "reach")
"""Fields of `SetProbe` that are columns of the same name."""


def shared_columns(probed: ProbeResult) -> Row:
    """The columns that `probes/` and `trials/` share."""
    problem, model, pair = probed.problem, probed.model, probed.pair
    row = problem_row(problem)
    if model is not None:
        row |= {f: getattr(model.identity, f) for f in ("architecture", "parameters", "weights")}
        if model.lora_targets is not None:
            row["lora_targets"] = ",".join(model.lora_targets)
    row |= dict.fromkeys(("kappa", "near_synonym", *_PAIR_COLUMNS))
    if pair is not None:
        row |= {"target": pair.tokens.target_text, "competitor": pair.tokens.competitor_text}
        row |= {name: getattr(pair, name) for name in ("near_synonym", *_PAIR_COLUMNS)}
    if isinstance(probed, Measured):
        row["kappa"] = probed.kappa
    row["effective_steps"] = effective_steps(problem.steps, problem.schedule, problem.optimizer)
    return row


def probe_row(probed: ProbeResult) -> Row:
    """Encode the result of a probe as a row of `probes/`."""
    tokens = None if probed.pair is None else probed.pair.tokens
    refused = probed if isinstance(probed, Refused) else None
    row = shared_columns(probed) | {
        "prompt_tokens": None if tokens is None else list(tokens.prompt),
        "target_token": None if tokens is None else tokens.target,
        "competitor_token": None if tokens is None else tokens.competitor,
        **{name: None if tokens is None else list(getattr(tokens, name)) or None for name in Tokens.LATER},
        "width": None if probed.model is None else probed.model.width,
        **{name: None if probed.model is None else getattr(probed.model, name) for name in _BATCH_COLUMNS},
        "probe_trial_steps": probed.trial_steps if isinstance(probed, Measured) else 0.0,
        "refusal": None if refused is None else refused.outcome.value,
        "error": None if refused is None else refused.message,
    }
    if not isinstance(probed, Measured):
        return row
    estimated = probed.path or probed.on_set
    if estimated is None:
        return row
    row |= {"log_odds_0": estimated.log_odds_0, "path_rates": list(estimated.learning_rates)}
    if probed.path is not None:
        row["gap_end"] = probed.path.gap_end
    elif probed.on_set is not None:
        row["sample_kappa"] = probed.on_set.kappa
        row |= {name: getattr(probed.on_set, name) for name in _SET_COLUMNS}
    return row


def probe_result_from_row(row: Row, problem: Problem) -> ProbeResult:
    """Decode a row that `probe_row` made for this problem."""
    model = None if row["weights"] is None else _model_from_row(row, problem)
    pair = None if row["prompt_tokens"] is None else _pair_from_row(row)
    if row["refusal"] is not None:
        return Refused(
            problem=problem,
            outcome=Outcome(row["refusal"]),
            message=row["error"] or "",
            model=model,
            pair=pair,
        )
    assert model is not None
    assert pair is not None
    return Measured(
        problem=problem,
        model=model,
        pair=pair,
        kappa=row["kappa"],
        path=_path_from_row(row),
        on_set=_set_from_row(row),
    )


def _model_from_row(row: Row, problem: Problem) -> ModelReading:
    named = problem.lora is not None and row["lora_targets"] is not None
    return ModelReading(
        identity=ModelIdentity.model_validate({f: row[f] for f in ModelIdentity.model_fields}),
        width=row["width"],
        lora_targets=tuple(row["lora_targets"].split(",")) if named else None,
        **{name: row[name] for name in _BATCH_COLUMNS},
    )


def _pair_from_row(row: Row) -> PairReading:
    tokens = Tokens(
        prompt=tuple(row["prompt_tokens"]),
        target=row["target_token"],
        competitor=row["competitor_token"],
        target_text=row["target"],
        competitor_text=row["competitor"],
        **{name: tuple(row[name] or ()) for name in Tokens.LATER},
    )
    return PairReading(tokens=tokens, **{name: row[name] for name in _PAIR_COLUMNS})


def _path_from_row(row: Row) -> PathProbe | None:
    if row["path_rates"] is None or row.get("sample_kappa") is not None:
        return None
    return PathProbe(
        learning_rates=tuple(row["path_rates"]),
        log_odds_0=row["log_odds_0"],
        gap_end=row["gap_end"],
        trial_steps=row["probe_trial_steps"],
    )


def _set_from_row(row: Row) -> SetProbe | None:
    if row.get("sample_kappa") is None:
        return None
    return SetProbe(
        kappa=row["sample_kappa"],
        learning_rates=tuple(row["path_rates"]),
        log_odds_0=row["log_odds_0"],
        trial_steps=row["probe_trial_steps"],
        **{name: row[name] for name in _SET_COLUMNS},
    )
