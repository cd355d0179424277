"""The plan of a run as a pure function: which batches, on which workers, at which predicted cost.

`make_plan` gets everything that it needs to know about models and workers as arguments. The workers are recorded with
the run, so a run that continues elsewhere gets the same plan if the models' tokenizers are at hand in both places.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phantom_dist.core.trial import Problem
from phantom_dist.engines import DEEPSPEED
from phantom_dist.engines.lanes.cost import WAYS, Chooser, Way
from phantom_dist.engines.lanes.support import LANE_KINDS, dual_pays
from phantom_dist.engines.path.cost import can_be_predicted
from phantom_dist.models import ModelMetadata
from phantom_dist.planning.batches import BatchGroup, batch_groups
from phantom_dist.planning.durations import path_pays, probe_seconds, set_probe_pays, trial_seconds
from phantom_dist.planning.memory import fits_worker, lanes_of_rank, lanes_that_fit, process_bytes
from phantom_dist.planning.probes import PlannedProbe, probe_tasks
from phantom_dist.planning.rank_groups import group_config, rank_groups
from phantom_dist.planning.resources import Resources
from phantom_dist.planning.sizes import batch_limits, tokens, work
from phantom_dist.refinement.search import EXPECTED_TRIALS
from phantom_dist.scheduling.rank_group import RankGroup
from phantom_dist.scheduling.worker_kind import WorkerKind
from phantom_dist.spec import Critical, SweepSpec, expand, learning_rates_of, multiples_of, tolerance_of


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedTrial:
    """One trial, or one search before its first round.

    Attributes:
        problem: its problem.
        learning_rate: None for a search.
        batch: the name of its batch; None for a search.
        seconds: predicted time (s) of one trial.
        process_bytes: predicted peak memory (bytes) of each process that trains it.
    """

    problem: Problem
    learning_rate: float | None
    batch: str | None
    seconds: float
    process_bytes: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Phase:
    """A part of a run: everything that single workers train, or that groups of ranks of one size train.

    Attributes:
        rank_group: the group of ranks that each worker is; None for single workers.
        probes: the probes of its problems, in the order of the sweep.
        batch_groups: its batch groups.
        max_concurrent_tasks: how many tasks can run at the same time: its probe tasks, or one batch per batch group.
    """

    rank_group: RankGroup | None
    probes: tuple[PlannedProbe, ...]
    batch_groups: tuple[BatchGroup, ...]
    max_concurrent_tasks: int


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will do.

    Attributes:
        spec: the sweep.
        engine: `auto`, or an engine's name.
        models: metadata of each model, by its reference.
        resources: the workers for which it was made.
        problems: the expanded sweep, in order.
        learning_rates: the given learning rates; empty for searches.
        tolerance: of the searches; None for given learning rates.
        batch_groups: groups of trials that are trained together, in the order of the sweep.
        trials: the members of the batch groups, in the same order.
        phases: run one after another: single workers first, then groups of ranks of each size.
    """

    spec: SweepSpec
    engine: str
    models: Mapping[str, ModelMetadata]
    resources: Resources
    problems: tuple[Problem, ...]
    learning_rates: tuple[float, ...]
    tolerance: float | None
    batch_groups: tuple[BatchGroup, ...]
    trials: tuple[PlannedTrial, ...]
    phases: tuple[Phase, ...]

    def chooser(self, group: BatchGroup) -> Chooser:
        """How the engine chooses between ways of training on a group's workers."""
        return _chooser(self.engine, group.kind)

    @functools.cached_property
    def typical_trials(self) -> int:
        """Typical number of trials of a search; words that share their trainings have one at each other's rates."""
        if self.spec.training is None:
            return EXPECTED_TRIALS + len(multiples_of(self.spec))
        words = {problem.context.id for problem in self.problems if not problem.context.held_out}
        return max(EXPECTED_TRIALS, 2 * len(words))


def make_plan(
    spec: SweepSpec, models: Mapping[str, ModelMetadata], resources: Resources, *, engine: str = "auto"
) -> Plan:
    """Plan a sweep.

    Args:
        spec: the sweep.
        models: metadata of each of its models, by reference.
        resources: the available workers.
        engine: `auto` trains batches in the way that costs least, and forms groups of ranks for models that don't fit a
            single worker.
    """
    problems, rates = expand(spec), learning_rates_of(spec)
    learning_rates = () if isinstance(rates, Critical) else rates
    limits_of = {p.key: batch_limits(p, models[p.model]) for p in problems}
    by_config: dict[tuple[object, ...], RankGroup] = {}
    if engine in ("auto", DEEPSPEED) and resources.deepspeed:
        always = engine == DEEPSPEED
        of_trials = [problem for problem in problems for _ in learning_rates or (None,)]
        by_config = rank_groups(of_trials, models, spec.execution.group, resources, always=always)

    def group_of(problem: Problem) -> RankGroup | None:
        return by_config.get(group_config(problem))

    def room(problem: Problem, kind: WorkerKind) -> int:
        """How many trials of a problem a batch may have on a worker of a kind; 0 if not even one fits."""
        model, limits = models[problem.model], limits_of[problem.key]
        group = group_of(problem)
        if group is not None and group.lanes:
            memory = resources.for_ranks.memory_bytes
            return group.ranks * lanes_of_rank(problem, model, group.ranks, memory, limits.lanes)
        if group is not None:
            return limits.one_after_another if learning_rates or problem.training else 1
        chooser = _chooser(engine, kind)
        if not fits_worker(problem, model, kind.memory_bytes, chooser):
            return 0
        most = limits.gpu_lanes if kind.on_gpu else limits.lanes
        if lanes := lanes_that_fit(problem, model, kind.memory_bytes, most, chooser):
            return lanes
        return limits.one_after_another if learning_rates or problem.training else 1

    groups = tuple(batch_groups(problems, learning_rates, room, resources.kinds, group_of))
    members = [(group, problem, rate) for group in groups for problem, rate in group.members]

    watched = Counter(problem.training_at(rate) for _, problem, rate in members)

    peak_bytes = [
        process_bytes(
            problem,
            models[problem.model],
            group.rank_group,
            group.trainings,
            _chooser(engine, group.kind),
        )
        for group, problem, _ in members
    ]
    phases = _phases(groups, problems, rates, models, engine)
    trials = tuple(
        PlannedTrial(
            problem=problem,
            learning_rate=rate,
            batch=None if rate is None else group.batch,
            seconds=trial_seconds(
                problem,
                models[problem.model],
                group.rank_group,
                group.trainings,
                _chooser(engine, group.kind),
                watched[problem.training_at(rate)],
            ),
            process_bytes=peak,
        )
        for (group, problem, rate), peak in zip(members, peak_bytes, strict=True)
    )
    return Plan(
        spec=spec,
        engine=engine,
        models=models,
        resources=resources,
        problems=problems,
        learning_rates=learning_rates,
        tolerance=tolerance_of(spec),
        batch_groups=groups,
        trials=trials,
        phases=phases,
    )


def _chooser(engine: str, kind: WorkerKind) -> Chooser:
    allowed: dict[str, Sequence[Way]] = {"single": ("reference",), "lanes": LANE_KINDS}
    return Chooser(ways=allowed.get(engine, WAYS), on_gpu=kind.on_gpu)


def _phases(
    groups: Sequence[BatchGroup],
    problems: Sequence[Problem],
    rates: Critical | tuple[float, ...],
    models: Mapping[str, ModelMetadata],
    engine: str,
) -> tuple[Phase, ...]:
    """The phases: single workers first, then groups of ranks of each size; probes in the order of the sweep."""
    group_of = {problem.key: group for group in groups for problem in group.problems}
    probes: dict[RankGroup | None, list[PlannedProbe]] = {}
    for problem in problems:
        group = group_of[problem.key]
        probe = _probe(problem, models[problem.model], group, rates, _chooser(engine, group.kind))
        probes.setdefault(group.rank_group, []).append(probe)
    phases = []
    for ranks in sorted(probes, key=lambda ranks: (ranks is not None, ranks and (ranks.ranks, ranks.stage))):
        of_phase = tuple(group for group in groups if group.rank_group == ranks)
        tasks = max(sum(1 for _ in probe_tasks(probes[ranks])), len(of_phase))
        phases.append(
            Phase(
                rank_group=ranks,
                probes=tuple(probes[ranks]),
                batch_groups=of_phase,
                max_concurrent_tasks=tasks,
            )
        )
    return tuple(phases)


def _probe(
    problem: Problem,
    model: ModelMetadata,
    group: BatchGroup,
    rates: Critical | tuple[float, ...],
    chooser: Chooser,
) -> PlannedProbe:
    """The probe of a problem; it includes what predicts η_c if the search starts from the law's prediction.

    If the law knows no such optimizer, the search starts at first order.
    """
    words = len({each.key for each in group.problems}) if problem.training is not None else 1
    dual = dual_pays(problem, model.parameters, tokens(problem, model))
    ranks = group.rank_group
    if not isinstance(rates, Critical) or not can_be_predicted(problem):
        with_path = False
    elif ranks is not None and (not ranks.lanes or problem.training is not None):
        with_path = False  # it needs whole gradients, and each rank has only a share
    elif rates.start == "auto" and problem.training is not None:
        with_path = set_probe_pays(problem, model, chooser, words)
    elif rates.start == "auto":
        with_path = path_pays(problem, model, len(group.members), chooser, dual=dual)
    else:
        with_path = rates.start == "law"
    return PlannedProbe(
        problem=problem,
        work=work(problem, model),
        with_path=with_path,
        seconds=probe_seconds(problem, model, group.rank_group, with_path=with_path, dual=dual, words=words),
        memory_bytes=group.memory_bytes,
    )
