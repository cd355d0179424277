"""Rough predictions of time, from the bytes moved and the operations done.

A step of full fine-tuning on the reference engine reads the weights twice, writes and reads their gradients, and
updates the weights: about 30 bytes per parameter in float32. LoRA neither writes nor reads gradients of the weights:
about 12 bytes. One forward and one backward pass do 6 operations per parameter and token. The larger of the two times
counts, plus a constant for Python.

Lanes of a batch share one reading of the weights, and the constant. They do 4 operations per parameter and token,
because the shared weights need no gradient.
"""

from __future__ import annotations

from phantom_dist.core.trial import Problem
from phantom_dist.engines.lanes.choice import kind_of
from phantom_dist.engines.path import shares, walked_bytes
from phantom_dist.models import ModelMetadata
from phantom_dist.planning.memory import bytes_per_parameter
from phantom_dist.planning.sizes import looks, prompt_tokens, tokens
from phantom_dist.scheduling.rank_group import RankGroup

BANDWIDTH = 6e9
"""Bytes per second that one CPU thread moves while two run (measured on SmolLM2-135M's training step)."""

OPERATIONS = 4e10
"""Floating-point operations per second of one CPU thread."""

OVERHEAD_S = 0.006
"""Seconds per step that don't depend on the model's size: Python, instruments."""

BATCH_OVERHEAD_S = 0.02
"""The same for one step of a whole batch of lanes."""

SAVED_TRIALS = {"full": 1.2, "lora": 3.0}
"""Trials that a search to 1 % saves by starting at the law's prediction (mean over the shipped calibration, each model
predicted without itself)."""

LINK = 1e9
"""Bytes per second that a rank sends to the other ranks."""

RANK_OVERHEAD_S = {2: 0.03, 3: 0.08}
"""Seconds of a group's step that don't depend on the model's size, by ZeRO stage."""


def trial_seconds(
    problem: Problem, model: ModelMetadata, rank_group: RankGroup | None, lanes: int, watched: int = 1
) -> float:
    """Predicted time (s) of a trial in a batch of `lanes` lanes, or on its group of ranks.

    Of `watched` contexts that share a training each has its part, and its own measurements.
    """
    if problem.training is not None:
        ranks = 1
        if rank_group is not None:
            step, ranks = seconds_per_group_step(problem, model, rank_group), rank_group.ranks
        elif lanes == 1:
            step = seconds_per_step(problem, model.parameters)
        else:
            step = seconds_per_lane_step(problem, model.parameters, lanes)
        look = max(
            4 * model.parameters / BANDWIDTH, 2 * model.parameters * prompt_tokens(problem) / OPERATIONS
        )
        return problem.steps * step / watched + looks(problem) * (look / ranks + OVERHEAD_S)
    if rank_group is not None:
        return problem.steps * seconds_per_group_step(problem, model, rank_group)
    return problem.steps * seconds_per_lane_step(problem, model.parameters, lanes)


def probe_seconds(
    problem: Problem, model: ModelMetadata, rank_group: RankGroup | None, *, with_path: bool, dual: bool
) -> float:
    """Predicted time (s) of a probe, with or without its path, in the dual form or not."""
    if rank_group is not None:
        return 2 * seconds_per_group_step(problem, model, rank_group)
    path = path_seconds(problem, model.parameters, dual=dual) if with_path else 0.0
    return kappa_seconds(problem, model.parameters, dual=dual) + path


def seconds_per_step(problem: Problem, parameters: int, ranks: int = 1) -> float:
    """Predicted time (s) of one trial-step on the reference engine: forward, backward, update and instruments.

    With `ranks` on each of so many that share the tokens.
    """
    moved = parameters * (12 if problem.method == "lora" else 30)
    return max(moved / BANDWIDTH, 6 * parameters * tokens(problem) / ranks / OPERATIONS) + OVERHEAD_S


def seconds_per_lane_step(problem: Problem, parameters: int, lanes: int) -> float:
    """Predicted time (s) of one trial-step in a batch of `lanes` lanes."""
    moved = parameters * (40 if kind_of(problem) == "stacked" else 8 / lanes)
    done = 4 * parameters * tokens(problem) * (1.3 if kind_of(problem) == "dual" else 1.0)
    return max(moved / BANDWIDTH, done / OPERATIONS) + BATCH_OVERHEAD_S / lanes


def path_pays(problem: Problem, parameters: int, lanes: int, *, dual: bool) -> bool:
    """Whether a search is faster from the law's prediction: the path probe must cost less than the trials it saves."""
    saved = SAVED_TRIALS[problem.method] * problem.steps
    return path_seconds(problem, parameters, dual=dual) < saved * seconds_per_lane_step(
        problem, parameters, lanes
    )


def kappa_seconds(problem: Problem, parameters: int, *, dual: bool) -> float:
    """Predicted time (s) of probing κ."""
    return 2 * _seconds_per_probe_step(problem, parameters, dual=dual)


def path_seconds(problem: Problem, parameters: int, *, dual: bool) -> float:
    """Predicted time (s) of probing a problem's path, in addition to κ."""
    # In the dual form a walk moves only a few coefficients.
    walked = 0.0 if dual else parameters * walked_bytes(problem) / BANDWIDTH
    return (len(shares(problem)) + 0.5) * _seconds_per_probe_step(problem, parameters, dual=dual) + walked


def _seconds_per_probe_step(problem: Problem, parameters: int, *, dual: bool) -> float:
    return seconds_per_lane_step(problem, parameters, 1) if dual else seconds_per_step(problem, parameters)


def seconds_per_group_step(problem: Problem, model: ModelMetadata, group: RankGroup) -> float:
    """Predicted time (s) of one trial-step on a group; weights and gradients are sent.

    The ranks share the sequences of a training set's batch; of a single prompt each computes all.
    """
    stage, ranks = group.stage, 1 if problem.training is None else group.ranks
    sent = bytes_per_parameter(problem) * model.parameters
    if problem.method == "full":
        sent *= stage  # stage 2: gradients and updated weights; stage 3: weights twice, and gradients
    elif stage == 2:
        sent = 0
    return seconds_per_step(problem, model.parameters, ranks) + RANK_OVERHEAD_S[stage] + sent / LINK
