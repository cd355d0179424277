"""The parts of a stored row that decisions read: a trial's outcome, a problem's probe. Rows are decoded only here.

A summary is made from the row alone, so it also exists for a problem that the sweep no longer contains.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from phantom_dist.core.outcome import Outcome
from phantom_dist.core.problem_columns import ProblemColumns, problem_columns


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialSummary:
    """How one trial ended: the columns of `trials/` that searches, budgets, `status` and the plan read.

    Attributes:
        problem: key of the problem (`Problem.key`).
        learning_rate: peak η; None for a refused pair of a search.
        gap_final: g_T in logits; None or not finite if training diverged, None if nothing was trained.
        steps_taken: optimizer steps; None if nothing was trained. `stopped_early`: why they are fewer than T.
        drag_final: δ_T; `structural_drag`: the threshold for its fall that was in force. Both dimensionless.
        wall_time: seconds of training and measuring; a lane's share of its batch.
        process_bytes: peak resident memory of the worker's process.
        error: why nothing was trained; `note`: why an engine other than the configured one trained it.
        training_id: the training that it shares; `training_loss_last`: that training's loss at its end, nats. None
            without a training set.
    """

    trial_id: str
    problem: str
    model: str
    context: str
    learning_rate: float | None
    outcome: Outcome
    gap_final: float | None
    steps_taken: int | None
    drag_final: float | None
    structural_drag: float | None
    batch: str | None
    wall_time: float | None
    process_bytes: int | None
    error: str | None
    note: str | None
    training_id: str | None = None
    training_loss_last: float | None = None
    stopped_early: str | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Decode a row of `trials/` as stored, or as a worker returned it (without the columns that have no value)."""
        return cls(
            trial_id=row["trial_id"],
            problem=row["problem"],
            model=row["model"],
            context=row["context"],
            learning_rate=row["learning_rate"],
            outcome=Outcome(row["outcome"]),
            gap_final=row.get("gap_final"),
            steps_taken=row.get("steps_taken"),
            drag_final=row.get("drag_final"),
            structural_drag=row.get("structural_drag"),
            batch=row.get("batch"),
            wall_time=row.get("wall_time"),
            process_bytes=row.get("process_bytes"),
            error=row.get("error"),
            note=row.get("note"),
            training_id=row.get("training_id"),
            training_loss_last=row.get("training_loss_last"),
            stopped_early=row.get("stopped_early"),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeSummary(ProblemColumns):
    """The starting values of a problem's search: the columns of `probes/` that it reads.

    Attributes:
        problem: key of the problem (`Problem.key`).
        effective_steps: T counted with schedule and momentum.
        gap_0: g_0 in logits; `kappa`: its rate in logits per step per unit learning rate. None if the pair was refused
            before they were measured.
        trial_steps: cost of probing in trial-steps; None in runs of versions that did not store it.
        refusal: outcome of a pair that is not trained; None if it is.
        held_out: whether it chooses no learning rate.
        near_synonym: whether the pair's overlap reaches the floor; None where that is unknown.
        examples_used, examples_cut: of its training set, as the model's tokenizer reads it; None without one.
    """

    problem: str
    effective_steps: float
    gap_0: float | None
    kappa: float | None
    trial_steps: float | None
    refusal: Outcome | None
    held_out: bool = False
    near_synonym: bool | None = None
    examples_used: int | None = None
    examples_cut: int | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Decode a row of `probes/`."""
        return cls(
            problem=row["problem"],
            **problem_columns(row),
            effective_steps=row["effective_steps"],
            gap_0=row["gap_0"],
            kappa=row["kappa"],
            trial_steps=row["probe_trial_steps"],
            refusal=None if row["refusal"] is None else Outcome(row["refusal"]),
            held_out=bool(row["held_out"]),
            near_synonym=row["near_synonym"],
            examples_used=row["examples_used"],
            examples_cut=row["examples_cut"],
        )
