"""What a run would do, without doing it: trials, batches, predicted time, memory and device-hours."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

from phantom_dist.campaign import cost
from phantom_dist.campaign.grouping import check_deepspeed, fits_worker, groups, has_deepspeed
from phantom_dist.campaign.memory import share_of_memory, uses_gpu, workers_here
from phantom_dist.core.trial import Problem
from phantom_dist.engines import DEEPSPEED, SingleEngine
from phantom_dist.instruments import outside
from phantom_dist.models import ModelMetadata, describe
from phantom_dist.records import problem_row
from phantom_dist.refinement.search import EXPECTED_TRIALS
from phantom_dist.scheduling.executor import Group
from phantom_dist.scheduling.packing import Cohort, cohorts, most_lanes, pack_probes, single_trials
from phantom_dist.spec import Critical, SweepSpec, expand, learning_rates_of, load, tolerance_of

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A sweep's problems, what is known of its models, and what it will take. Nothing has been run or written.

    `worker_memory` (bytes) is what a worker may take, of a GPU where `on_gpu`; both decide how many lanes share a
    batch, and memory which models are trained by groups of ranks. There can be at most `workers` ranks.
    """

    spec: SweepSpec
    problems: tuple[Problem, ...]
    models: dict[str, ModelMetadata]
    engine: str
    worker_memory: float
    workers: int
    on_gpu: bool = False

    @property
    def may_need_groups(self) -> bool:
        """Whether it matters how many ranks a group can have: a model fits no worker, or groups were asked for."""
        if self.engine == DEEPSPEED:
            return True
        return self.engine == "auto" and not all(
            fits_worker(problem, self.models[problem.model], self.worker_memory) for problem in self.problems
        )

    @functools.cached_property
    def groups(self) -> dict[tuple[object, ...], Group]:
        """The groups of ranks that train what doesn't fit one worker, by `Problem.training`."""
        if self.engine not in ("auto", DEEPSPEED) or not has_deepspeed():
            return {}
        return groups(
            self.problems,
            self.models,
            self.spec.execution.group,
            always=self.engine == DEEPSPEED,
            worker_memory=self.worker_memory,
            workers=self.workers,
        )

    def group_of(self, problem: Problem) -> Group | None:
        """The group that trains a problem; None where one worker does."""
        return self.groups.get(problem.training)

    @functools.cached_property
    def phases(self) -> tuple[Group | None, ...]:
        """What trains one after another: single workers, then groups of each size."""
        found = dict.fromkeys(self.group_of(problem) for problem in self.problems)
        return tuple(
            sorted(found, key=lambda group: (group is not None, group and (group.ranks, group.stage)))
        )

    @functools.cached_property
    def tolerance(self) -> float | None:
        """The search's tolerance; None for a sweep over given learning rates."""
        return tolerance_of(self.spec)

    @property
    def start(self) -> str | None:
        """Where searches start: `auto`, `law` or `first_order`; None for a sweep over given learning rates."""
        rates = learning_rates_of(self.spec)
        return rates.start if isinstance(rates, Critical) else None

    def starts_from_law(self, problem: Problem) -> bool:
        """Whether the problem's path is probed, so that its search starts where the law predicts η_c."""
        if self.group_of(problem) is not None:
            return False  # a path takes its gradients whole
        if self.start != "auto":
            return self.start == "law"
        return cost.path_pays(problem, self.parameters(problem), self._company[problem.key])

    @functools.cached_property
    def _company(self) -> dict[str, int]:
        """How many trials share a problem's batch, by the problem's key."""
        return {p.key: len(cohort.members) for cohort in self.cohorts for p, _ in cohort.members}

    @functools.cached_property
    def learning_rates(self) -> tuple[float, ...]:
        """The given learning rates; empty for a search."""
        rates = learning_rates_of(self.spec)
        return () if isinstance(rates, Critical) else rates

    def parameters(self, problem: Problem) -> int:
        """Parameters of the problem's model."""
        return self.models[problem.model].parameters

    def probe_seconds(self, problem: Problem) -> float:
        """Predicted time (s) of a probe, and of its path where the search starts from the law."""
        group, parameters = self.group_of(problem), self.parameters(problem)
        if group is not None:
            return 2 * cost.seconds_per_group_step(problem, self.models[problem.model], group.stage)
        path = cost.path_seconds(problem, parameters) if self.starts_from_law(problem) else 0.0
        return cost.kappa_seconds(problem, parameters) + path

    def trial_seconds(self, problem: Problem, lanes: int) -> float:
        """Predicted time (s) of a trial as one of so many lanes, or on its group."""
        group = self.group_of(problem)
        if group is not None:
            model = self.models[problem.model]
            return problem.steps * cost.seconds_per_group_step(problem, model, group.stage)
        return problem.steps * cost.seconds_per_lane_step(problem, self.parameters(problem), lanes)

    @property
    def packing(self) -> Row:
        """What the packing depends on beside the sweep; recorded with a run."""
        return {
            "engine": self.engine,
            "worker_memory_bytes": self.worker_memory,
            "workers_for_groups": self.workers,
            "on_gpu": self.on_gpu,
        }

    def packed_as(self, packing: Row | None) -> Plan:
        """The plan of a run that continues: packed as it began, whatever machine it continues on."""
        if packing is None or packing["engine"] != self.engine:
            return self
        return dataclasses.replace(
            self,
            worker_memory=packing["worker_memory_bytes"],
            workers=packing.get("workers_for_groups", self.workers),
            on_gpu=packing.get("on_gpu", False),
        )

    def lanes(self, problem: Problem) -> int:
        """How many trials of the problem make a batch."""
        if self.engine == SingleEngine.name or self.group_of(problem) is not None:
            return single_trials(problem, self.parameters(problem)) if self.learning_rates else 1
        fit = cost.lanes_that_fit(problem, self.models[problem.model], self.worker_memory)
        return min(fit, most_lanes(problem, self.parameters(problem), on_gpu=self.on_gpu))

    @functools.cached_property
    def cohorts(self) -> tuple[Cohort, ...]:
        """What is trained together."""
        return tuple(cohorts(self.problems, self.learning_rates, self.lanes, on_gpu=self.on_gpu))

    def at_once(self, group: Group | None) -> int:
        """How many tasks of single workers, or of such groups, there can be at a time: probes, or a batch a cohort."""
        mine = [problem for problem in self.problems if self.group_of(problem) == group]
        probes = pack_probes(mine, self.parameters, self.starts_from_law, self.probe_seconds)
        batches = sum(self.group_of(cohort.problems[0]) == group for cohort in self.cohorts)
        return max(sum(1 for _ in probes), batches)

    def rows(self) -> list[Row]:
        """The rows of `plan.parquet`: one per given learning rate, or one per search before its first round."""
        trials = 1 if self.learning_rates else EXPECTED_TRIALS
        return [
            problem_row(problem)
            | {
                "learning_rate": rate,
                "batch": cohort.batch if rate is not None else None,
                "predicted_trial_steps": float(trials * problem.steps),
                "predicted_seconds": trials * self.trial_seconds(problem, len(cohort.members)),
                "predicted_process_bytes": self._process_bytes(
                    problem, cohort.together * len(cohort.members)
                ),
            }
            for cohort in self.cohorts
            for problem, rate in cohort.members
        ]

    def to_json(self) -> Row:
        """The JSON object of `plan`."""
        per_problem = len(self.learning_rates) or EXPECTED_TRIALS
        trial_steps = sum(p.steps * per_problem for p in self.problems)
        searching = self.tolerance is not None
        rounds = EXPECTED_TRIALS if searching else 1
        lanes = {cohort: len(cohort.members) for cohort in self.cohorts}
        seconds = sum(map(self.probe_seconds, self.problems)) + rounds * sum(
            self.trial_seconds(problem, count)
            for cohort, count in lanes.items()
            for problem, _ in cohort.members
        )
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
            "batches": len(self.cohorts) * rounds,
            "lanes": max(lanes.values()),
            "trial_steps": trial_steps,
            "predicted_seconds": seconds,
            "predicted_worker_bytes": max(
                self._process_bytes(problem, cohort.together * len(cohort.members))
                for cohort in self.cohorts
                for problem, _ in cohort.members
            ),
            "worker_memory_bytes": self.worker_memory,
            "predicted_device_hours": seconds / 3600,
            "threads_per_worker": self.spec.execution.threads,
            "tolerance": self.tolerance,
            "groups": self._groups_json(),
        }

    def _process_bytes(self, problem: Problem, lanes: int) -> float:
        """Predicted peak memory (bytes) of each process that trains a problem."""
        group, model = self.group_of(problem), self.models[problem.model]
        if group is not None:
            return cost.rank_bytes(problem, model, group.ranks, group.stage)
        return cost.worker_bytes(problem, model, lanes)

    def _groups_json(self) -> list[Row]:
        """One object for each way of training that takes a group."""
        told: dict[tuple[object, ...], Row] = {}
        for problem in self.problems:
            group = self.group_of(problem)
            if group is None:
                continue
            row = told.setdefault(
                problem.training,
                {
                    "model": problem.model,
                    "method": problem.method,
                    "optimizer": problem.optimizer.name,
                    "steps": problem.steps,
                    "ranks": group.ranks,
                    "stage": group.stage,
                    "predicted_rank_bytes": self._process_bytes(problem, 1),
                    "problems": 0,
                },
            )
            row["problems"] += 1
        return list(told.values())


def plan(sweep: Any, *, engine: str = "auto") -> Plan:
    """Plan a sweep: a file's path, a mapping in the same form, or a `SweepSpec`.

    Args:
        sweep: what to plan.
        engine: what will train it; `auto` packs trials as lanes, and forms a group for a model that fits no worker.

    Raises:
        InputError: the sweep is wrong, one of its models doesn't exist or can't be trained, an instrument can't be
            loaded, or `deepspeed` was asked for and isn't installed.
    """
    if engine == DEEPSPEED:
        check_deepspeed()
    spec = load(sweep)
    outside.load(spec.instruments)  # what can't be measured is said before anything runs
    permissions = spec.execution
    models = {
        name: describe(
            name, allow_pickle=permissions.allow_pickle, trust_remote_code=permissions.trust_remote_code
        )
        for name in spec.models
    }
    return Plan(
        spec=spec,
        problems=expand(spec),
        models=models,
        engine=engine,
        worker_memory=share_of_memory(permissions.device, permissions.threads),
        workers=workers_here(permissions.device, permissions.threads),
        on_gpu=uses_gpu(permissions.device),
    )
