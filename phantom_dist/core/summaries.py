"""What decisions read of a stored row: a trial's outcome, a problem's probe. Rows are decoded here, once.

A summary is made from a row alone, so it also exists where the sweep no longer names the row's problem.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from phantom_dist.core.outcome import Outcome
from phantom_dist.core.problem_columns import ProblemColumns, problem_columns


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialSummary:
    """How one trial ended: what searches, budgets, `status` and the plan read of a row of `trials/`.

    Attributes:
        problem: key of the problem (`Problem.key`).
        learning_rate: peak η; None for a refused pair of a search.
        gap_final: g_T in logits; None or not finite where training diverged, None where nothing was trained.
        steps_taken: optimizer steps; None where nothing was trained.
        drag_final: δ_T, and `structural_drag` the threshold in force on its fall; both dimensionless.
        wall_time: seconds of training and measuring; a lane's share of its batch.
        process_bytes: peak resident memory of the worker's process.
        error: why nothing was trained; `note`: why another engine than the configured one trained it.
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

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Decode a row of `trials/`, as stored or as the worker returned it (where columns without a value lack)."""
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
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeSummary(ProblemColumns):
    """Where the curve of one problem starts: what a search reads of a row of `probes/`.

    Attributes:
        problem: key of the problem (`Problem.key`).
        effective_steps: T counted with schedule and momentum.
        gap_0: g_0 in logits; `kappa`: its rate in logits per step per unit learning rate. None where the pair was
            refused before they were measured.
        trial_steps: cost of probing, in trial-steps; None in runs that did not store it.
        refusal: why the pair is not trained; None where it is.
    """

    problem: str
    effective_steps: float
    gap_0: float | None
    kappa: float | None
    trial_steps: float | None
    refusal: Outcome | None

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
        )
