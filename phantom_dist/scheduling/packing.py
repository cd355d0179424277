"""Trials into batches: a function of the plan alone, so results don't depend on the number of workers.

Trials that can be lanes of one batch (one model, trained in one way for the same steps) form cohorts, in the order of
the plan and as large as fits. A cohort over given learning rates is one batch. A cohort of searches is a batch in each
round: what its searches ask for next, once all of them have their last answer.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from phantom_dist.core.probe_result import Measured, PathProbe
from phantom_dist.core.trial import Problem
from phantom_dist.scheduling.tasks import ProbeTask, batch_id, probe_task

BATCH_WORK = 1e10
"""Target size of a task of single trials or probes in parameters x tokens x steps: 135 M x 9 x 8."""

LANES = 48
"""Lanes of a batch whatever its model's size: more gain little on SmolLM2, and cost more where a worker dies. On a CPU;
on a GPU a batch of `MAX_LANES` takes hardly longer (SmolLM2, H200: a step of 48 dual lanes 134 ms, of 192 155 ms)."""

MAX_LANES = 192
"""Lanes of a batch of small models, whose steps are mostly overhead: 1.3 times as fast as 48 on the zoo."""

MAX_SEARCHES = 16
"""Largest cohort of searches: one cohort keeps one worker busy, and from here on more lanes gain little on a CPU."""

GPU_SEARCHES = 64
"""The same on a GPU, where a round of so many takes as long as one of 16."""

MAX_PROBES = 8
"""Problems of one model that are probed in one task."""


@dataclass(frozen=True, eq=False)
class Cohort:
    """Problems and learning rates that are trained as one batch; None where a search decides."""

    members: tuple[tuple[Problem, float | None], ...]
    lanes: int

    @property
    def together(self) -> int:
        """How many trials each member may have in a batch: searches two, where there is room for a second of all."""
        searches = all(rate is None for _, rate in self.members)
        return 2 if searches and 2 * len(self.members) <= self.lanes else 1

    @functools.cached_property
    def problems(self) -> tuple[Problem, ...]:
        """Its problems, each once, in order."""
        return tuple({problem.key: problem for problem, _ in self.members}.values())

    @functools.cached_property
    def batch(self) -> str:
        """The name of its batch."""
        return batch_id((problem.key, rate) for problem, rate in self.members)


def cohorts(
    problems: Iterable[Problem],
    learning_rates: Sequence[float],
    lanes: Callable[[Problem], int],
    *,
    on_gpu: bool = False,
) -> Iterator[Cohort]:
    """All cohorts of a plan.

    Args:
        problems: in the order of the plan.
        learning_rates: given ones; empty for a search.
        lanes: how many trials of a problem fit into one batch.
        on_gpu: whether they are trained on GPUs.
    """
    alike: dict[object, list[tuple[Problem, float | None]]] = {}
    rates: Sequence[float | None] = learning_rates or (None,)
    for problem in problems:
        alike.setdefault(problem.training, []).extend((problem, rate) for rate in rates)
    searches = GPU_SEARCHES if on_gpu else MAX_SEARCHES
    for members in alike.values():
        # The longest prompt's room decides: all lanes are padded to it.
        room = max(1, min(lanes(problem) for problem, _ in members))
        most = min(MAX_LANES if learning_rates else searches, room)
        size = math.ceil(len(members) / math.ceil(len(members) / most))
        for start in range(0, len(members), size):
            yield Cohort(tuple(members[start : start + size]), lanes=room)


def work(problem: Problem, parameters: int) -> float:
    """Size of one trial in parameters x tokens x steps."""
    return parameters * tokens(problem) * problem.steps


def tokens(problem: Problem) -> int:
    """Tokens of the prompt, estimated by words before anything is tokenised."""
    return len(problem.context.text.split()) + 1


def most_lanes(problem: Problem, parameters: int, *, on_gpu: bool = False) -> int:
    """How many trials of a problem share a batch at most, were memory no matter."""
    if on_gpu:
        return MAX_LANES
    return max(LANES, min(MAX_LANES, int(LANES * BATCH_WORK // work(problem, parameters))))


def single_trials(problem: Problem, parameters: int) -> int:
    """How many trials of a problem make a batch for an engine that trains one after another."""
    return max(1, min(MAX_LANES, int(BATCH_WORK // work(problem, parameters))))


def pack_probes(
    problems: Iterable[Problem],
    parameters: Callable[[Problem], int],
    with_path: Callable[[Problem], bool] = lambda problem: False,
    seconds: Callable[[Problem], float] = lambda problem: 0.0,
) -> Iterator[ProbeTask]:
    """Probe tasks of one model each, in order, up to `BATCH_WORK` or `MAX_PROBES`, at least one problem.

    Args:
        problems: what to probe.
        parameters: number of parameters of a problem's model.
        with_path: whether a problem's path is probed as well.
        seconds: predicted time of a problem's probe.
    """
    alike: dict[tuple[str, bool], list[Problem]] = {}
    for problem in problems:
        alike.setdefault((problem.model, with_path(problem)), []).append(problem)
    for (_, paths), members in alike.items():
        steps = PathProbe.STEPS if paths else Measured.PROBE_STEPS
        cost = work(members[0], parameters(members[0])) * steps / members[0].steps
        size = max(1, min(MAX_PROBES, int(BATCH_WORK // cost)))
        for start in range(0, len(members), size):
            some = members[start : start + size]
            yield probe_task(some, paths=paths, seconds=sum(map(seconds, some)))
