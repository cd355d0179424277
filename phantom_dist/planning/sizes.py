"""How large a batch should be, were memory no matter: from the work of one trial."""

from __future__ import annotations

from dataclasses import dataclass

from phantom_dist.core.trial import Problem

BATCH_WORK = 1e10
"""Target size of a task of single trials or probes in parameters x tokens x steps: 135 M x 9 x 8."""

LANES = 48
"""Lanes of a batch whatever its model's size: more gain little on SmolLM2, and cost more where a worker dies. On a CPU;
on a GPU a batch of `MAX_LANES` takes hardly longer (SmolLM2, H200: a step of 48 dual lanes 134 ms, of 192 155 ms)."""

MAX_LANES = 192
"""Lanes of a batch of small models, whose steps are mostly overhead: 1.3 times as fast as 48 on the zoo."""

MAX_SEARCHES = 16
"""Searches of a batch on a CPU: a batch keeps one worker busy, and from here on more lanes gain little."""

GPU_SEARCHES = 64
"""The same on a GPU, where a round of so many takes as long as one of 16."""

MAX_PROBES = 8
"""Problems of one model that are probed in one task."""


def tokens(problem: Problem) -> int:
    """Tokens of the prompt, estimated from its words before anything is tokenised."""
    return len(problem.context.text.split()) + 1


def work(problem: Problem, parameters: int) -> float:
    """Size of one trial in parameters x tokens x steps."""
    return parameters * tokens(problem) * problem.steps


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchLimits:
    """How many trials of a problem make a batch, were memory no matter.

    Attributes:
        one_after_another: for an engine that trains one trial after another.
        lanes: for one that trains them as lanes, on a CPU.
        gpu_lanes: the same on a GPU.
    """

    one_after_another: int
    lanes: int
    gpu_lanes: int = MAX_LANES


def batch_limits(problem: Problem, parameters: int) -> BatchLimits:
    """The limits of a problem whose model has so many parameters: `BATCH_WORK`, and `LANES` to `MAX_LANES`."""
    of_one = work(problem, parameters)
    return BatchLimits(
        one_after_another=max(1, min(MAX_LANES, int(BATCH_WORK // of_one))),
        lanes=max(LANES, min(MAX_LANES, int(LANES * BATCH_WORK // of_one))),
    )
