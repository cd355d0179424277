"""Rows of the table `trials/`: one for each trial, trained or not."""

from __future__ import annotations

import dataclasses

from phantom_dist.core.measurement import TrialResult, Untrained
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.probe_result import Measured, ProbeResult
from phantom_dist.instruments.effective_steps import dimensionless_rate
from phantom_dist.instruments.jumps import largest_jump
from phantom_dist.instruments.outcome import commit_step, ends, outcome, silent, silent_in_set
from phantom_dist.records.probes import shared_columns
from phantom_dist.records.row import Row


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TraceSummary:
    """Summary of a trace under the problem's thresholds; fields as in `core.quantities.TRIAL_COLUMNS`."""

    outcome: Outcome
    silent: bool
    commit_step: int | None
    jump_step: int | None
    jump_size: float | None
    jump_readout_share: float | None
    steps_taken: int
    gap_final: float
    loss_final: float
    drag_final: float
    training_loss_first: float | None
    training_loss_last: float | None


def trace_summary(result: TrialResult) -> TraceSummary:
    """The outcome, the largest jump and the final values of a trained trial."""
    problem, trace = result.trial.problem, result.trace
    thresholds, training = problem.thresholds, problem.training
    loss = [m.loss for m in trace]
    gap = [m.logit_gap for m in trace]
    first, last = ends(result.training_losses)
    result_outcome = outcome(
        loss=loss if first is None or last is None else [first, last],
        logit_gap=gap,
        drag=[m.drag for m in trace],
        vocabulary_size=result.vocabulary_size,
        thresholds=thresholds,
    )
    is_silent = silent_in_set(loss, result_outcome, first, last) if training else silent(loss, result_outcome)
    commit, jump = commit_step(gap), None
    if training is None or training.measure_every == 1:  # a jump lies between two steps
        jump = largest_jump([m.order_parameter for m in trace], [m.readout_change for m in trace], thresholds)
    return TraceSummary(
        outcome=result_outcome,
        silent=is_silent,
        commit_step=None if commit is None else trace[commit].step,
        jump_step=None if jump is None else jump.step,
        jump_size=None if jump is None else jump.size,
        jump_readout_share=None if jump is None else jump.readout_share,
        steps_taken=trace[-1].step,
        gap_final=gap[-1],
        loss_final=loss[-1],
        drag_final=trace[-1].drag,
        training_loss_first=first,
        training_loss_last=last,
    )


def trial_row(result: TrialResult | Untrained) -> Row:
    """Encode a result as a row of `trials/`, without the columns about its execution."""
    if isinstance(result, Untrained):
        row = _settings_row(result.id, result.probed, result.learning_rate)
        return row | {"outcome": result.outcome.value, "error": result.message}
    row = _settings_row(result.id, result.trial.measured, result.trial.learning_rate)
    columns = dataclasses.asdict(trace_summary(result))
    return (
        row
        | columns
        | {
            "training_id": result.trial.training_id,
            "outcome": columns["outcome"].value,
            "stopped_early": result.stopped_early,
        }
    )


def training_columns(result: TrialResult | Untrained) -> Row:
    """The columns about how a trial was trained, which are not part of its result."""
    if isinstance(result, Untrained):
        return {"wall_time": 0.0, "engine": None, "note": None}
    return {"wall_time": result.wall_time, "engine": result.engine, "note": result.note}


def _settings_row(trial_id: str, probed: ProbeResult, learning_rate: float | None) -> Row:
    """The columns of `trials/` that are known before training."""
    thresholds = probed.problem.thresholds
    row = shared_columns(probed) | {
        "trial_id": trial_id,
        "pair_kind": None if probed.pair is None else probed.pair.tokens.pair_kind,
        "learning_rate": learning_rate,
        "structural_drag": thresholds.structural_drag,
        "jump_threshold": thresholds.jump_size,
        "jump_share_of_range": thresholds.jump_share_of_range,
        "synonym_floor_rms": thresholds.synonym_floor_rms,
        "stopped_early": None,
        "error": None,
    }
    if isinstance(probed, Measured) and learning_rate is not None:
        row["pi"] = dimensionless_rate(learning_rate, row["effective_steps"], probed.kappa, probed.gap_0)
    return row
