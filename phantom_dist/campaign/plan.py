"""What a run would do, without doing it: trials, batches, predicted time, memory and device-hours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from phantom_dist.campaign import cost
from phantom_dist.core.trial import Problem
from phantom_dist.engines.rows import problem_row
from phantom_dist.models import ModelMetadata, describe
from phantom_dist.refinement.search import EXPECTED_TRIALS
from phantom_dist.scheduling.packing import trials_per_batch
from phantom_dist.scheduling.tasks import batch_id
from phantom_dist.spec import Critical, SweepSpec, expand, learning_rates_of, load, tolerance_of

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A sweep's problems, what is known of its models, and what it will take. Nothing has been run or written."""

    spec: SweepSpec
    problems: tuple[Problem, ...]
    models: dict[str, ModelMetadata]

    @property
    def tolerance(self) -> float | None:
        """The search's tolerance; None for a sweep over given learning rates."""
        return tolerance_of(self.spec)

    @property
    def learning_rates(self) -> tuple[float, ...]:
        """The given learning rates; empty for a search."""
        rates = learning_rates_of(self.spec)
        return () if isinstance(rates, Critical) else rates

    def parameters(self, problem: Problem) -> int:
        """Parameters of the problem's model."""
        return self.models[problem.model].parameters

    @property
    def parallel_tasks(self) -> int:
        """How many tasks there can be at once: a search has one, given learning rates have all their batches."""
        batches = {row["batch"] for row in self.rows() if self.tolerance is None}
        return max(len(self.problems), len(batches))

    def rows(self) -> list[Row]:
        """The rows of `plan.parquet`: one per given learning rate, or one per search before its first round."""
        rows: list[Row] = []
        for problem in self.problems:
            common = problem_row(problem)
            if self.tolerance is not None:
                rows.append(common | {"predicted_trial_steps": float(EXPECTED_TRIALS * problem.steps)})
                continue
            size = trials_per_batch(problem, self.parameters(problem))
            for start in range(0, len(self.learning_rates), size):
                members = self.learning_rates[start : start + size]
                batch = batch_id((problem.key, rate) for rate in members)
                rows += [
                    common
                    | {"learning_rate": rate, "batch": batch, "predicted_trial_steps": float(problem.steps)}
                    for rate in members
                ]
        return rows

    def to_json(self) -> Row:
        """The JSON object of `plan`."""
        per_problem = len(self.learning_rates) or EXPECTED_TRIALS
        trial_steps = sum(p.steps * per_problem for p in self.problems)
        seconds = sum(
            (p.steps * per_problem + 2) * cost.seconds_per_step(p, self.parameters(p)) for p in self.problems
        )
        searching = self.tolerance is not None
        batches = {row.get("batch") for row in self.rows()} - {None}
        return {
            "name": self.spec.name,
            "models": [
                {
                    "model": name,
                    "title": m.title,
                    "architecture": m.architecture,
                    "parameters": m.parameters,
                    "verified": m.verified,
                    "reason": m.reason,
                }
                for name, m in self.models.items()
            ],
            "problems": len(self.problems),
            "trials": {
                "total": len(self.problems) * per_problem,
                "searches": len(self.problems) if searching else 0,
                "reason": f"each search takes about {EXPECTED_TRIALS} trials" if searching else None,
            },
            "batches": len(self.problems) * EXPECTED_TRIALS if searching else len(batches),
            "trial_steps": trial_steps,
            "predicted_seconds": seconds,
            "predicted_worker_bytes": max(cost.worker_bytes(p, self.parameters(p)) for p in self.problems),
            "predicted_device_hours": seconds / 3600,
            "threads_per_worker": self.spec.execution.threads,
            "tolerance": self.tolerance,
        }


def plan(sweep: Any) -> Plan:
    """Plan a sweep: a file's path, a mapping in the same form, or a `SweepSpec`.

    Raises:
        InputError: the sweep is wrong, or one of its models doesn't exist or can't be trained.
    """
    spec = load(sweep)
    permissions = spec.execution
    models = {
        name: describe(
            name, allow_pickle=permissions.allow_pickle, trust_remote_code=permissions.trust_remote_code
        )
        for name in spec.models
    }
    return Plan(spec=spec, problems=expand(spec), models=models)
