"""Which problems are trained by a group of ranks, and the size of that group.

A group is formed if a model doesn't fit a single worker but fits a group. It has the fewest ranks that suffice, and
among those ZeRO stage 2, which sends less data than stage 3. A model that fits neither is left to a single worker,
which may have enough memory after all, because the predictions are rough. Problems with an optimizer that DeepSpeed
can't reset between trials also stay on a single worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from phantom_dist.core.trial import Problem
from phantom_dist.engines import DEEPSPEED_OPTIMIZERS
from phantom_dist.models import ModelMetadata
from phantom_dist.planning.memory import fits_worker, rank_bytes
from phantom_dist.planning.resources import Resources
from phantom_dist.planning.sizes import tokens
from phantom_dist.scheduling.rank_group import RankGroup
from phantom_dist.spec.sweep import MAX_RANKS, MIN_RANKS, RankGroupSettings

STAGES = (2, 3)


def rank_groups(
    problems: Iterable[Problem],
    models: Mapping[str, ModelMetadata],
    settings: RankGroupSettings,
    resources: Resources,
    *,
    always: bool,
) -> dict[tuple[object, ...], RankGroup]:
    """The groups of a sweep by `Problem.training_config`; problems for a single worker have no entry.

    Args:
        problems: the sweep's problems.
        models: metadata of their models.
        settings: the sweep's settings for groups.
        resources: the available workers; each could be a rank.
        always: train everything on groups, as `--engine deepspeed` requires.
    """
    longest_prompt: dict[tuple[object, ...], Problem] = {}
    for problem in problems:
        longest = longest_prompt.setdefault(problem.training_config, problem)
        model = models[problem.model]
        if tokens(problem, model) > tokens(longest, model):
            longest_prompt[problem.training_config] = problem
    groups = {}
    for config, problem in longest_prompt.items():
        model = models[problem.model]
        trainable = problem.optimizer.name in DEEPSPEED_OPTIMIZERS
        trainable = trainable and not problem.is_mixed and not problem.decays_apart
        if always or (trainable and not fits_worker(problem, model, resources.largest.memory_bytes)):
            group = _smallest_that_fits(problem, model, settings, resources, always)
            if group is not None:
                groups[config] = group
    return groups


def _smallest_that_fits(
    problem: Problem,
    model: ModelMetadata,
    settings: RankGroupSettings,
    resources: Resources,
    always: bool,
) -> RankGroup | None:
    rank = resources.for_ranks
    counts = (
        range(MIN_RANKS, min(rank.count, MAX_RANKS) + 1) if settings.ranks == "auto" else (settings.ranks,)
    )
    stages = STAGES if settings.stage == "auto" else (settings.stage,)
    choices = [
        RankGroup(ranks=count, stage=stage, timeout_s=settings.timeout)
        for count in counts
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
