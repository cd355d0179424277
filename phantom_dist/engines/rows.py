"""Results as rows of the tables: the columns of `core.quantities`, by name."""

from __future__ import annotations

import dataclasses
from typing import Any

from phantom_dist.core.measurement import Measurement, Origin, PathProbe, TrialResult
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.trial import ModelIdentity, Problem, Tokens
from phantom_dist.instruments import kernel_rate
from phantom_dist.instruments.jumps import largest_jump
from phantom_dist.instruments.outcome import commit_step, outcome, silent

Row = dict[str, Any]

MEASURED = ("gap_0", "kappa", "loss_0", "overlap_0", "centred_overlap", "synonym_floor")
"""Fields of an origin that are columns under the same name."""

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


def _origin_row(origin: Origin) -> Row:
    row = problem_row(origin.problem)
    if origin.identity is not None:
        row |= {f: getattr(origin.identity, f) for f in ("architecture", "parameters", "weights")}
    if origin.tokens is not None:
        row |= {"target": origin.tokens.target_text, "competitor": origin.tokens.competitor_text}
    if origin.lora_targets is not None:
        row["lora_targets"] = ",".join(origin.lora_targets)
    problem = origin.problem
    row["effective_steps"] = kernel_rate.effective_steps(problem.steps, problem.schedule, problem.optimizer)
    return row | {name: getattr(origin, name) for name in MEASURED}


def probe_row(origin: Origin) -> Row:
    """The row of `probes/` for an origin."""
    tokens, path = origin.tokens, origin.path
    row = _origin_row(origin) | {
        "prompt_tokens": None if tokens is None else list(tokens.prompt),
        "target_token": None if tokens is None else tokens.target,
        "competitor_token": None if tokens is None else tokens.competitor,
        "width": origin.width,
        "probe_trial_steps": origin.trial_steps,
        "refusal": origin.refusal and origin.refusal.value,
        "error": origin.message,
    }
    if path is None:
        return row
    return row | {
        "log_odds_0": path.log_odds_0,
        "path_rates": list(path.learning_rates),
        "gap_end": path.gap_end,
    }


def origin_from_row(row: Row, problem: Problem) -> Origin:
    """The origin that `probe_row` stored for this problem."""
    tokens = identity = path = None
    if row["path_rates"] is not None:
        path = PathProbe(
            learning_rates=tuple(row["path_rates"]),
            log_odds_0=row["log_odds_0"],
            gap_end=row["gap_end"],
            trial_steps=row["probe_trial_steps"],
        )
    if row["prompt_tokens"] is not None:
        tokens = Tokens(
            prompt=tuple(row["prompt_tokens"]),
            target=row["target_token"],
            competitor=row["competitor_token"],
            target_text=row["target"],
            competitor_text=row["competitor"],
        )
    if row["weights"] is not None:
        identity = ModelIdentity.model_validate({f: row[f] for f in ModelIdentity.model_fields})
    return Origin(
        problem=problem,
        identity=identity,
        tokens=tokens,
        lora_targets=None
        if problem.lora is None or row["lora_targets"] is None
        else tuple(row["lora_targets"].split(",")),
        width=row["width"],
        path=path,
        refusal=None if row["refusal"] is None else Outcome(row["refusal"]),
        message=row["error"],
        **{name: row[name] for name in MEASURED},
    )


def trace_rows(result: TrialResult) -> list[Row]:
    """The rows of `traces/` for a result."""
    trial_id = result.trial.id
    return [
        {"trial_id": trial_id}
        | {name: getattr(measurement, name) for name in _OF_A_STEP}
        | dict(measurement.outside)
        for measurement in result.trace
    ]


def trial_row(result: TrialResult) -> Row:
    """The row of `trials/` for a result: what the trace amounts to under the problem's thresholds."""
    problem, origin, eta = result.trial.problem, result.trial.origin, result.trial.learning_rate
    row = _origin_row(origin)
    row |= {
        "trial_id": result.trial.id,
        "learning_rate": eta,
        "structural_drag": problem.thresholds.structural_drag,
        "jump_threshold": problem.thresholds.jump_size,
        "jump_share_of_range": problem.thresholds.jump_share_of_range,
        "synonym_floor_rms": problem.thresholds.synonym_floor_rms,
        "stopped_early": result.stopped_early,
        "error": result.error,
    }
    if eta is not None and origin.kappa is not None and origin.gap_0 is not None:
        row["pi"] = kernel_rate.dimensionless_rate(eta, row["effective_steps"], origin.kappa, origin.gap_0)
    if result.untrained is not None:
        return row | {"outcome": result.untrained.value}
    return row | _trained_columns(result)


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
