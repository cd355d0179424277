"""Results as rows of the tables: the columns of `core.quantities`, by name."""

from __future__ import annotations

import dataclasses
from typing import Any

from phantom_dist.core.measurement import Measurement, TrialResult, Untrained
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.probe_result import (
    Measured,
    ModelReading,
    PairReading,
    PathProbe,
    ProbeResult,
    Refused,
)
from phantom_dist.core.trial import ModelIdentity, Problem, Tokens
from phantom_dist.instruments import kernel_rate
from phantom_dist.instruments.jumps import largest_jump
from phantom_dist.instruments.outcome import commit_step, outcome, silent

Row = dict[str, Any]

_OF_A_PAIR = tuple(field.name for field in dataclasses.fields(PairReading) if field.name != "tokens")
"""Fields that are columns under the same name."""

_OF_A_STEP = tuple(field.name for field in dataclasses.fields(Measurement) if field.name != "outside")


def problem_row(problem: Problem) -> Row:
    """The columns that say which problem, as written in the sweep."""
    optimizer, lora, adamw = problem.optimizer, problem.lora, problem.optimizer.name == "adamw"
    targets = None if lora is None else lora.targets
    return {
        "problem": problem.key,
        "model": problem.model,
        "context": problem.context.id,
        "target": problem.context.target,
        "competitor": problem.context.competitor,
        "method": problem.method,
        "optimizer": optimizer.name,
        "momentum": optimizer.momentum,
        "weight_decay": optimizer.weight_decay,
        "beta1": optimizer.beta1 if adamw else None,
        "beta2": optimizer.beta2 if adamw else None,
        "epsilon": optimizer.epsilon if adamw else None,
        "schedule": problem.schedule.name,
        "warmup_steps": problem.schedule.warmup_steps,
        "lora_rank": None if lora is None else lora.rank,
        "lora_alpha": None if lora is None else lora.alpha,
        "lora_targets": targets if targets is None or isinstance(targets, str) else ",".join(targets),
        "steps": problem.steps,
        "seed": problem.seed,
        "precision": problem.precision,
    }


def _probed_row(probed: ProbeResult) -> Row:
    """The columns that `probes/` and `trials/` share."""
    problem, model, pair = probed.problem, probed.model, probed.pair
    row = problem_row(problem)
    if model is not None:
        row |= {f: getattr(model.identity, f) for f in ("architecture", "parameters", "weights")}
        if model.lora_targets is not None:
            row["lora_targets"] = ",".join(model.lora_targets)
    row |= dict.fromkeys(("kappa", *_OF_A_PAIR))
    if pair is not None:
        row |= {"target": pair.tokens.target_text, "competitor": pair.tokens.competitor_text}
        row |= {name: getattr(pair, name) for name in _OF_A_PAIR}
    if isinstance(probed, Measured):
        row["kappa"] = probed.kappa
    row["effective_steps"] = kernel_rate.effective_steps(problem.steps, problem.schedule, problem.optimizer)
    return row


def probe_row(probed: ProbeResult) -> Row:
    """The row of `probes/` for what a probe measured or refused."""
    tokens = None if probed.pair is None else probed.pair.tokens
    refused = probed if isinstance(probed, Refused) else None
    row = _probed_row(probed) | {
        "prompt_tokens": None if tokens is None else list(tokens.prompt),
        "target_token": None if tokens is None else tokens.target,
        "competitor_token": None if tokens is None else tokens.competitor,
        "width": None if probed.model is None else probed.model.width,
        "probe_trial_steps": probed.trial_steps if isinstance(probed, Measured) else 0.0,
        "refusal": None if refused is None else refused.outcome.value,
        "error": None if refused is None else refused.message,
    }
    path = probed.path if isinstance(probed, Measured) else None
    if path is None:
        return row
    return row | {
        "log_odds_0": path.log_odds_0,
        "path_rates": list(path.learning_rates),
        "gap_end": path.gap_end,
    }


def probe_result_from_row(row: Row, problem: Problem) -> ProbeResult:
    """What `probe_row` stored for this problem."""
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
    return Measured(problem=problem, model=model, pair=pair, kappa=row["kappa"], path=_path_from_row(row))


def _model_from_row(row: Row, problem: Problem) -> ModelReading:
    named = problem.lora is not None and row["lora_targets"] is not None
    return ModelReading(
        identity=ModelIdentity.model_validate({f: row[f] for f in ModelIdentity.model_fields}),
        width=row["width"],
        lora_targets=tuple(row["lora_targets"].split(",")) if named else None,
    )


def _pair_from_row(row: Row) -> PairReading:
    tokens = Tokens(
        prompt=tuple(row["prompt_tokens"]),
        target=row["target_token"],
        competitor=row["competitor_token"],
        target_text=row["target"],
        competitor_text=row["competitor"],
    )
    return PairReading(tokens=tokens, **{name: row[name] for name in _OF_A_PAIR})


def _path_from_row(row: Row) -> PathProbe | None:
    if row["path_rates"] is None:
        return None
    return PathProbe(
        learning_rates=tuple(row["path_rates"]),
        log_odds_0=row["log_odds_0"],
        gap_end=row["gap_end"],
        trial_steps=row["probe_trial_steps"],
    )


def trace_rows(result: TrialResult) -> list[Row]:
    """The rows of `traces/` for a result."""
    trial_id = result.id
    return [
        {"trial_id": trial_id}
        | {name: getattr(measurement, name) for name in _OF_A_STEP}
        | dict(measurement.outside)
        for measurement in result.trace
    ]


def trial_row(result: TrialResult | Untrained) -> Row:
    """The row of `trials/` for a result: what the trace amounts to under the problem's thresholds."""
    if isinstance(result, Untrained):
        return _settings_row(result.id, result.probed, result.learning_rate) | {
            "stopped_early": None,
            "error": result.message,
            "outcome": result.outcome.value,
        }
    row = _settings_row(result.id, result.trial.measured, result.trial.learning_rate)
    return row | {"stopped_early": result.stopped_early, "error": None} | _trained_columns(result)


def _settings_row(trial_id: str, probed: ProbeResult, learning_rate: float | None) -> Row:
    """The columns of `trials/` that are known before a trial is trained."""
    thresholds = probed.problem.thresholds
    row = _probed_row(probed) | {
        "trial_id": trial_id,
        "learning_rate": learning_rate,
        "structural_drag": thresholds.structural_drag,
        "jump_threshold": thresholds.jump_size,
        "jump_share_of_range": thresholds.jump_share_of_range,
        "synonym_floor_rms": thresholds.synonym_floor_rms,
    }
    if isinstance(probed, Measured) and learning_rate is not None:
        row["pi"] = kernel_rate.dimensionless_rate(
            learning_rate, row["effective_steps"], probed.kappa, probed.gap_0
        )
    return row


def training_columns(result: TrialResult | Untrained) -> Row:
    """The columns of `trials/` that say how a trial was trained; no part of its result."""
    if isinstance(result, Untrained):
        return {"wall_time": 0.0, "engine": None, "note": None}
    return {"wall_time": result.wall_time, "engine": result.engine, "note": result.note}


def _trained_columns(result: TrialResult) -> Row:
    thresholds, trace = result.trial.problem.thresholds, result.trace
    loss = [m.loss for m in trace]
    gap = [m.logit_gap for m in trace]
    ended = outcome(
        loss=loss,
        logit_gap=gap,
        drag=[m.drag for m in trace],
        vocabulary_size=result.vocabulary_size,
        thresholds=thresholds,
    )
    jump = largest_jump([m.order_parameter for m in trace], [m.readout_change for m in trace], thresholds)
    return {
        "outcome": ended.value,
        "silent": silent(loss, ended),
        "commit_step": commit_step(gap),
        "jump_step": jump and jump.step,
        "jump_size": jump and jump.size,
        "jump_readout_share": jump and jump.readout_share,
        "steps_taken": trace[-1].step,
        "gap_final": gap[-1],
        "loss_final": loss[-1],
        "drag_final": trace[-1].drag,
    }
