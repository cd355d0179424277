"""What to run, in which batches, on what, at which predicted cost: a pure function of frozen inputs.

`make_plan` looks at nothing itself. What it needs to know of models and workers is passed in, and recorded with the
run, so a run that continues elsewhere is planned as it began.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

from phantom_dist.core.trial import Problem
from phantom_dist.engines import DEEPSPEED, SingleEngine
from phantom_dist.models import ModelMetadata
from phantom_dist.planning import cost
from phantom_dist.planning.batches import BatchGroup, batch_groups
from phantom_dist.planning.probes import probe_tasks
from phantom_dist.planning.rank_groups import rank_groups
from phantom_dist.planning.resources import Resources
from phantom_dist.planning.sizes import most_lanes, single_trials
from phantom_dist.scheduling.executor import RankGroup
from phantom_dist.scheduling.tasks import ProbeTask
from phantom_dist.scheduling.worker_kind import WorkerKind
from phantom_dist.spec import Critical, SweepSpec, expand, learning_rates_of, tolerance_of


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will do. Nothing has been run or written.

    Attributes:
        spec: the sweep.
        engine: what trains it: `auto`, or an engine's name.
        models: what is known of each model, by its reference.
        resources: the workers that it was made for.
        problems: what the sweep expands to, in order.
        rank_groups: the groups of ranks that train what fits no worker, by `Problem.training_config`.
        batch_groups: what is trained together.
    """

    spec: SweepSpec
    engine: str
    models: Mapping[str, ModelMetadata]
    resources: Resources
    problems: tuple[Problem, ...]
    rank_groups: Mapping[tuple[object, ...], RankGroup]
    batch_groups: tuple[BatchGroup, ...]

    # -- what the sweep asks for --------------------------------------------------------------------------------------

    @functools.cached_property
    def tolerance(self) -> float | None:
        """The searches' tolerance; None for a sweep over given learning rates."""
        return tolerance_of(self.spec)

    @functools.cached_property
    def learning_rates(self) -> tuple[float, ...]:
        """The given learning rates; empty for searches."""
        rates = learning_rates_of(self.spec)
        return () if isinstance(rates, Critical) else rates

    def starts_from_law(self, problem: Problem) -> bool:
        """Whether the problem's path is probed, so that its search starts where the law predicts η_c."""
        rates = learning_rates_of(self.spec)
        if not isinstance(rates, Critical) or self.rank_group_of(problem) is not None:
            return False  # a path needs whole gradients, and a rank has a share of them
        if rates.start != "auto":
            return rates.start == "law"
        return cost.path_pays(problem, self._parameters(problem), self._members_beside[problem.key])

    # -- who runs what ------------------------------------------------------------------------------------------------

    def rank_group_of(self, problem: Problem) -> RankGroup | None:
        """The group of ranks that trains a problem; None where one worker does."""
        return self.rank_groups.get(problem.training_config)

    @functools.cached_property
    def phases(self) -> tuple[RankGroup | None, ...]:
        """What runs one after another: single workers, then groups of ranks of each size."""
        groups = dict.fromkeys(self.rank_group_of(problem) for problem in self.problems)
        return tuple(
            sorted(groups, key=lambda group: (group is not None, group and (group.ranks, group.stage)))
        )

    def probe_tasks(self, problems: tuple[Problem, ...]) -> tuple[ProbeTask, ...]:
        """The tasks that probe some of the problems."""
        return tuple(
            probe_tasks(
                problems, self._parameters, self.starts_from_law, self.probe_seconds, self._probes_memory
            )
        )

    def max_concurrent_tasks(self, phase: RankGroup | None) -> int:
        """How many tasks of a phase can run at a time: its probes, or a batch of each of its batch groups."""
        problems = tuple(p for p in self.problems if self.rank_group_of(p) == phase)
        batches = sum(self.rank_group_of(group.problems[0]) == phase for group in self.batch_groups)
        return max(len(self.probe_tasks(problems)), batches)

    def needed_memory(self, kind: WorkerKind) -> float:
        """Memory (bytes) of the workers that may take what was made for a kind; 0 where all workers are alike."""
        return kind.memory_bytes if len(self.resources.kinds) > 1 else 0.0

    def _probes_memory(self, problem: Problem) -> float:
        model = self.models[problem.model]
        fitting = (k for k in self.resources.kinds if cost.fits_worker(problem, model, k.memory_bytes))
        return self.needed_memory(next(fitting, self.resources.largest))

    # -- predictions --------------------------------------------------------------------------------------------------

    def probe_seconds(self, problem: Problem) -> float:
        """Predicted time (s) of a probe, and of its path where the search starts from the law."""
        group, parameters = self.rank_group_of(problem), self._parameters(problem)
        if group is not None:
            return 2 * cost.seconds_per_group_step(problem, self.models[problem.model], group.stage)
        path = cost.path_seconds(problem, parameters) if self.starts_from_law(problem) else 0.0
        return cost.kappa_seconds(problem, parameters) + path

    def trial_seconds(self, problem: Problem, lanes: int) -> float:
        """Predicted time (s) of a trial as one of so many lanes, or on its group of ranks."""
        group = self.rank_group_of(problem)
        if group is not None:
            model = self.models[problem.model]
            return problem.steps * cost.seconds_per_group_step(problem, model, group.stage)
        return problem.steps * cost.seconds_per_lane_step(problem, self._parameters(problem), lanes)

    def process_bytes(self, problem: Problem, lanes: int) -> float:
        """Predicted peak memory (bytes) of each process that trains a problem in a batch of so many lanes."""
        group, model = self.rank_group_of(problem), self.models[problem.model]
        if group is not None:
            return cost.rank_bytes(problem, model, group.ranks, group.stage)
        return cost.worker_bytes(problem, model, lanes)

    def _parameters(self, problem: Problem) -> int:
        return self.models[problem.model].parameters

    @functools.cached_property
    def _members_beside(self) -> dict[str, int]:
        """How many trials share a problem's batch, by the problem's key."""
        return {p.key: len(group.members) for group in self.batch_groups for p, _ in group.members}


def make_plan(
    spec: SweepSpec, models: Mapping[str, ModelMetadata], resources: Resources, *, engine: str = "auto"
) -> Plan:
    """Plan a sweep.

    Args:
        spec: the sweep.
        models: what is known of each of its models, by reference.
        resources: the workers there is room for.
        engine: what trains it; `auto` packs trials as lanes, and forms groups of ranks for models that fit no worker.
    """
    problems = expand(spec)
    groups: dict[tuple[object, ...], RankGroup] = {}
    if engine in ("auto", DEEPSPEED) and resources.deepspeed:
        groups = rank_groups(problems, models, spec.execution.group, resources, always=engine == DEEPSPEED)
    rates = learning_rates_of(spec)
    learning_rates = () if isinstance(rates, Critical) else rates

    def room(problem: Problem, kind: WorkerKind) -> int:
        """How many trials of a problem make a batch on a worker of a kind; 0 where it has no room for one."""
        model = models[problem.model]
        if kind != resources.largest and not cost.fits_worker(problem, model, kind.memory_bytes):
            return 0
        if engine == SingleEngine.name or problem.training_config in groups:
            return single_trials(problem, model.parameters) if learning_rates else 1
        fit = cost.lanes_that_fit(problem, model, kind.memory_bytes)
        return min(fit, most_lanes(problem, model.parameters, on_gpu=kind.on_gpu))

    return Plan(
        spec=spec,
        engine=engine,
        models=models,
        resources=resources,
        problems=problems,
        rank_groups=groups,
        batch_groups=tuple(batch_groups(problems, learning_rates, room, resources.kinds)),
    )
