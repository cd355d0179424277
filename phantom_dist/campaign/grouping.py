"""Which problems are trained by a group of ranks, and by how large a one: a function of the plan.

A group is formed where a model doesn't fit one worker and fits a group; the fewest ranks that do, and of equally many
ZeRO's stage 2, which sends less. A problem whose model fits neither is left to one worker, which may have room after
all: what is predicted is rough.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping

from phantom_dist.campaign import cost
from phantom_dist.core.errors import InputError
from phantom_dist.core.trial import Problem
from phantom_dist.models import ModelMetadata
from phantom_dist.scheduling.executor import Group
from phantom_dist.scheduling.packing import tokens
from phantom_dist.spec.sweep import MAX_RANKS, MIN_RANKS
from phantom_dist.spec.sweep import Group as Wanted

STAGES = (2, 3)


def groups(
    problems: Iterable[Problem],
    models: Mapping[str, ModelMetadata],
    wanted: Wanted,
    *,
    always: bool,
    worker_memory: float,
    workers: int,
) -> dict[tuple[object, ...], Group]:
    """The groups of a sweep by `Problem.training`, what a batch has in common; none where one worker trains.

    Args:
        problems: the sweep's.
        models: what is known of their models.
        wanted: what the sweep says of groups.
        always: train everything on groups, as `--engine deepspeed` asks.
        worker_memory: what a worker, or a rank, may take (bytes).
        workers: how many workers there is room for, and so ranks.
    """
    largest: dict[tuple[object, ...], Problem] = {}
    for problem in problems:
        longer = largest.setdefault(problem.training, problem)
        if tokens(problem) > tokens(longer):
            largest[problem.training] = problem
    found = {
        training: _group(problem, models[problem.model], wanted, always, worker_memory, workers)
        for training, problem in largest.items()
    }
    return {training: group for training, group in found.items() if group is not None}


def _group(
    problem: Problem, model: ModelMetadata, wanted: Wanted, always: bool, worker_memory: float, workers: int
) -> Group | None:
    if not always and fits_worker(problem, model, worker_memory):
        return None
    counts = range(MIN_RANKS, min(workers, MAX_RANKS) + 1) if wanted.ranks == "auto" else (wanted.ranks,)
    stages = STAGES if wanted.stage == "auto" else (wanted.stage,)
    choices = [Group(ranks=n, stage=stage, timeout_s=wanted.timeout) for n in counts for stage in stages]
    for choice in choices:
        if cost.rank_bytes(problem, model, choice.ranks, choice.stage) <= worker_memory:
            return choice
    if not always:
        return None
    # It was asked for, whatever was predicted: as large as there is room for.
    return choices[-1] if choices else Group(ranks=MIN_RANKS, stage=stages[-1], timeout_s=wanted.timeout)


def fits_worker(problem: Problem, model: ModelMetadata, worker_memory: float) -> bool:
    """Whether one worker has the memory (bytes) to train one trial."""
    return cost.worker_bytes(problem, model, 1) <= worker_memory


def check_deepspeed() -> None:
    """Raise where DeepSpeed is asked for and missing.

    Raises:
        InputError: it is not installed.
    """
    if not has_deepspeed():
        raise InputError(
            "--engine deepspeed: DeepSpeed is not installed here. Install it on every node: "
            "pip install 'phantom-dist[deepspeed]'."
        )


def has_deepspeed() -> bool:
    """Whether DeepSpeed is installed in this environment."""
    return importlib.util.find_spec("deepspeed") is not None
