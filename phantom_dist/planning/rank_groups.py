"""Which problems are trained by a group of ranks, and the size of that group.

A group is formed if a model doesn't fit a single worker but fits a group; or if it fits, but leaves so little memory
for lanes that a group is far faster. A model that fits neither is left to a single worker, which may have enough memory
after all, because the predictions are rough. Problems with an optimizer that DeepSpeed can't reset between trials also
stay on a single worker.

Trainings that leave the model's weights as they are (`lanes.support.leaves_weights`) share one sharded model, on which
each rank trains lanes of its own. More ranks leave each more memory for lanes, and there are fewer groups: the plan
takes the number of ranks with which all trials are predicted to end first. Others are trained one after another by all
ranks together, on the fewest ranks that suffice, and among those at ZeRO stage 2, which sends less data than stage 3.
So are all where the sweep sets the stage.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from phantom_dist.core.trial import Problem
from phantom_dist.engines import DEEPSPEED_OPTIMIZERS
from phantom_dist.engines.lanes.cost import AUTO
from phantom_dist.engines.lanes.support import leaves_weights
from phantom_dist.models import ModelMetadata
from phantom_dist.planning.durations import seconds_per_group_step, seconds_per_step
from phantom_dist.planning.memory import fits_worker, lanes_of_rank, lanes_that_fit, rank_bytes
from phantom_dist.planning.resources import Resources
from phantom_dist.planning.sizes import LANES, tokens
from phantom_dist.scheduling.rank_group import RankGroup
from phantom_dist.spec.sweep import MAX_RANKS, MIN_RANKS, RankGroupSettings

STAGES = (2, 3)

START_S = 15.0
"""Seconds until a group's ranks are connected and have a model in shards, beyond what a single worker takes."""

PAYS = 1.5
"""How many times as fast a group must be predicted to be where single workers would do."""


def rank_groups(
    problems: Iterable[Problem],
    models: Mapping[str, ModelMetadata],
    settings: RankGroupSettings,
    resources: Resources,
    *,
    always: bool,
) -> dict[tuple[object, ...], RankGroup]:
    """The groups of a sweep by `group_config`; problems for a single worker have no entry.

    Args:
        problems: the sweep's problems, once for each of their trials.
        models: metadata of their models.
        settings: the sweep's settings for groups.
        resources: the available workers; each could be a rank.
        always: train everything on groups, as `--engine deepspeed` requires.
    """
    by_config: dict[tuple[object, ...], list[Problem]] = {}
    for problem in problems:
        by_config.setdefault(group_config(problem), []).append(problem)
    groups = {}
    for config, members in by_config.items():
        model = models[members[0].model]
        problem = max(members, key=lambda member: tokens(member, model))
        trainable = problem.optimizer.name in DEEPSPEED_OPTIMIZERS
        trainable = trainable and not problem.is_mixed and not problem.decays_apart
        shares = leaves_weights(problem) and settings.stage == "auto"
        fastest = _fastest(problem, len(members), model, settings, resources) if shares else None
        group = None
        if always or (trainable and not fits_worker(problem, model, resources.largest.memory_bytes)):
            smallest = _smallest_that_fits(problem, model, settings, resources, always)
            group = smallest if fastest is None else fastest[1]
        elif fastest is not None and not resources.largest.on_gpu:
            alone = _seconds_alone(problem, len(members), model, resources)
            group = fastest[1] if PAYS * (START_S + fastest[0]) < alone else None
        if group is not None:
            groups[config] = group
    return groups


def group_config(problem: Problem) -> tuple[object, ...]:
    """What problems have in common that are trained by groups of one size."""
    if leaves_weights(problem):
        return (*problem.lanes_config, "lanes")
    return problem.training_config


def _fastest(
    problem: Problem, trials: int, model: ModelMetadata, settings: RankGroupSettings, resources: Resources
) -> tuple[float, RankGroup] | None:
    """The size of group with which so many trials end first, each rank training lanes of its own, and after how long.

    None if none fits.
    """
    rank, best = resources.for_ranks, None
    for ranks in _counts(settings, resources):
        lanes = ranks * lanes_of_rank(problem, model, ranks, rank.memory_bytes, LANES)
        if lanes:
            group = RankGroup(ranks=ranks, stage=3, timeout_s=settings.timeout, lanes=True)
            batch, at_once = min(lanes, trials), lanes * max(1, rank.count // ranks)
            step = batch * seconds_per_group_step(problem, model, group, batch)
            seconds = math.ceil(trials / at_once) * problem.steps * step
            if best is None or seconds < best[0]:
                best = seconds, group
    return best


def _seconds_alone(problem: Problem, trials: int, model: ModelMetadata, resources: Resources) -> float:
    """How long so many trials take on single workers."""
    worker = resources.largest
    lanes = max(1, lanes_that_fit(problem, model, worker.memory_bytes, LANES, AUTO))
    batch = min(lanes, trials)
    step = batch * seconds_per_step(problem, model, batch, AUTO)
    return math.ceil(trials / (lanes * worker.count)) * problem.steps * step


def _counts(settings: RankGroupSettings, resources: Resources) -> Sequence[int]:
    """The numbers of ranks that a group may have."""
    if settings.ranks != "auto":
        return (settings.ranks,)
    return range(MIN_RANKS, min(resources.for_ranks.count, MAX_RANKS) + 1)


def _smallest_that_fits(
    problem: Problem,
    model: ModelMetadata,
    settings: RankGroupSettings,
    resources: Resources,
    always: bool,
) -> RankGroup | None:
    rank = resources.for_ranks
    stages = STAGES if settings.stage == "auto" else (settings.stage,)
    choices = [
        RankGroup(ranks=count, stage=stage, timeout_s=settings.timeout)
        for count in _counts(settings, resources)
        for stage in stages
    ]
    for choice in choices:
        if rank_bytes(problem, model, choice.ranks, choice.stage) <= rank.memory_bytes:
            return choice
    if not always:
        return None
    # The user requires groups, whatever is predicted: take the largest that the workers allow.
    return (
        choices[-1] if choices else RankGroup(ranks=MIN_RANKS, stage=stages[-1], timeout_s=settings.timeout)
    )
