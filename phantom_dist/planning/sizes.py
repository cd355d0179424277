"""How many trials a batch should have, memory aside: from the work of one trial."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from phantom_dist.core.trial import Problem

if TYPE_CHECKING:
    from phantom_dist.models.adapter import ModelMetadata

BATCH_WORK = 1e10
"""Target size of a task of single trials or probes, in parameters x tokens x steps: 135 M x 9 x 8."""

LANES = 48
"""Lanes of a batch on a CPU, whatever the model's size. On SmolLM2 more lanes are hardly faster, and more work is lost
when a worker dies. On a GPU a batch of `MAX_LANES` takes hardly longer (SmolLM2 on an H200: 134 ms per step for 48 dual
lanes, 155 ms for 192)."""

MAX_LANES = 192
"""Lanes of a batch of a small model, whose steps are mostly overhead: 1.3 times as fast as 48 lanes on the zoo."""

SET_LANES = 2
"""Least lanes of a batch of trainings on a training set, on a CPU."""

MAX_SEARCHES = 16
"""Searches of a batch on a CPU: beyond this number more lanes are hardly faster, and fewer workers would be busy."""

GPU_SEARCHES = 64
"""The same on a GPU, where a round of 64 searches takes as long as one of 16."""

MAX_PROBES = 8
"""Most problems of one probe task."""


def tokens(problem: Problem, model: ModelMetadata) -> int:
    """Number of tokens of a step: of the prompt, or of a batch, as far as they are known before it is tokenised."""
    training = problem.training
    if training is not None:
        return training.batch_size * min(training.max_length, model.tokens.words(training.words))
    return prompt_tokens(problem, model)


def prompt_tokens(problem: Problem, model: ModelMetadata) -> int:
    """Number of tokens of the prompt."""
    return model.tokens.text(problem.context.text)


def looks(problem: Problem) -> int:
    """How often a context is measured in a training, in forward passes that serve nothing else."""
    training = problem.training
    return 0 if training is None else 1 + -(-problem.steps // training.measure_every)


def work(problem: Problem, model: ModelMetadata) -> float:
    """Size of one trial in parameters x tokens x steps."""
    return model.parameters * tokens(problem, model) * problem.steps


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchLimits:
    """Most trials of a problem in one batch, memory aside.

    Attributes:
        one_after_another: on an engine that trains one trial after another.
        lanes: on an engine that trains lanes, on a CPU.
        gpu_lanes: the same on a GPU.
    """

    one_after_another: int
    lanes: int
    gpu_lanes: int = MAX_LANES


def batch_limits(problem: Problem, model: ModelMetadata) -> BatchLimits:
    """The limits for a problem: by `BATCH_WORK`, from `LANES` to `MAX_LANES`.

    A step of a batch of examples is bound by arithmetic unless the model is small, so there few lanes suffice, and more
    batches keep more workers busy: down to `SET_LANES`.
    """
    of_one = work(problem, model)
    if problem.training is not None:
        return BatchLimits(
            one_after_another=max(1, min(MAX_LANES, int(BATCH_WORK // of_one))),
            lanes=max(SET_LANES, min(LANES, int(LANES * BATCH_WORK // of_one))),
            gpu_lanes=LANES,
        )
    return BatchLimits(
        one_after_another=max(1, min(MAX_LANES, int(BATCH_WORK // of_one))),
        lanes=max(LANES, min(MAX_LANES, int(LANES * BATCH_WORK // of_one))),
    )
