"""Trials into batches: a function of the plan alone, so results don't depend on the number of workers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from phantom_dist.core.measurement import Origin, Trial
from phantom_dist.core.trial import Problem
from phantom_dist.scheduling.tasks import ProbeTask, TrainTask, probe_task, train_task

BATCH_WORK = 1e10
"""Target size of a batch in parameters x tokens x steps; 135 M parameters, 9 tokens and 8 steps make one batch."""

MAX_TRIALS = 48
"""Largest batch: what a death can cost stays bounded."""

MAX_PROBES = 8
"""Problems of one model that are probed in one task."""


def work(problem: Problem, parameters: int) -> float:
    """Size of one trial in parameters x tokens x steps (tokens estimated by words, known before tokenising)."""
    return parameters * (len(problem.context.text.split()) + 1) * problem.steps


def pack_trials(trials: Sequence[Trial], parameters: int) -> Iterator[TrainTask]:
    """Batches of trials of one problem, in order, each up to `BATCH_WORK` or `MAX_TRIALS`, at least one trial."""
    if trials:
        size = trials_per_batch(trials[0].problem, parameters)
        for start in range(0, len(trials), size):
            yield train_task(trials[start : start + size])


def trials_per_batch(problem: Problem, parameters: int) -> int:
    """How many trials of a problem make a batch."""
    return max(1, min(MAX_TRIALS, int(BATCH_WORK // work(problem, parameters))))


def pack_probes(problems: Iterable[Problem], parameters: Callable[[Problem], int]) -> Iterator[ProbeTask]:
    """Probe tasks of one model each, in order, up to `BATCH_WORK` or `MAX_PROBES`, at least one problem.

    Args:
        problems: what to probe.
        parameters: number of parameters of a problem's model.
    """
    by_model: dict[str, list[Problem]] = {}
    for problem in problems:
        by_model.setdefault(problem.model, []).append(problem)
    for members in by_model.values():
        cost = work(members[0], parameters(members[0])) * Origin.PROBE_STEPS / members[0].steps
        size = max(1, min(MAX_PROBES, int(BATCH_WORK // cost)))
        for start in range(0, len(members), size):
            yield probe_task(members[start : start + size])
