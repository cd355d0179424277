"""Rough predictions of time: of training steps by `engines.lanes.cost`; from it of probes, looks and groups."""

from __future__ import annotations

from phantom_dist.core.probe_result import SetProbe
from phantom_dist.core.trial import Problem
from phantom_dist.data.batches import SAMPLE
from phantom_dist.engines.lanes.cost import BANDWIDTH, OPERATIONS, Chooser, Way, step_cost
from phantom_dist.engines.lanes.support import GRADIENTS, kinds_of
from phantom_dist.engines.path.cost import shares, walked_bytes
from phantom_dist.models import ModelMetadata
from phantom_dist.planning.memory import bytes_per_parameter
from phantom_dist.planning.sizes import looks, prompt_tokens, tokens
from phantom_dist.scheduling.rank_group import RankGroup

LOOK_OVERHEAD_S = 0.006
"""Seconds of a measurement that don't depend on the model's size."""

SAVED_TRIALS = {"full": 1.2, "lora": 3.0}
"""Trials that a search to 1 % saves by starting at the law's prediction (mean over the shipped calibration, each model
predicted without itself)."""

SAVED_TRAININGS = {"full": 1.3, "lora": 1.4}
"""Trainings that a search of 25 words, which share them, saves in the same way, to 5 %
(`tests/benchmarks/shared_searches.py`)."""

LINK = 1e9
"""Bytes per second that a rank sends to the other ranks."""

RANK_OVERHEAD_S = {2: 0.03, 3: 0.08}
"""Seconds of a group's step that don't depend on the model's size, by ZeRO stage."""


def trial_seconds(
    problem: Problem,
    model: ModelMetadata,
    rank_group: RankGroup | None,
    lanes: int,
    chooser: Chooser,
    watched: int = 1,
) -> float:
    """Predicted time (s) of a trial in a batch of `lanes` lanes, or on its group of ranks.

    Of `watched` contexts that share a training each has its part, and its own measurements.
    """
    step, ranks = seconds_per_step(problem, model, lanes, chooser), 1
    if rank_group is not None:
        step, ranks = seconds_per_group_step(problem, model, rank_group, lanes), rank_group.ranks
    if problem.training is None:
        return problem.steps * step
    read, operations = 4 * model.parameters, 2 * model.size.body * prompt_tokens(problem, model)
    look = max(read / BANDWIDTH, operations / OPERATIONS) / ranks + LOOK_OVERHEAD_S
    return problem.steps * step / watched + looks(problem) * look


def probe_seconds(
    problem: Problem,
    model: ModelMetadata,
    rank_group: RankGroup | None,
    *,
    with_path: bool,
    dual: bool,
    words: int = 1,
) -> float:
    """Predicted time (s) of a probe, with or without what predicts η_c, in the dual form or not.

    Of `words` that share a training each has its part.
    """
    if rank_group is not None and not rank_group.lanes:
        return 2 * seconds_per_group_step(problem, model, rank_group, 1)
    if problem.training is not None:
        shared = SAMPLE / problem.training.batch_size * _seconds_on_set(problem, model)
        shared += set_probe_seconds(problem, model, words) if with_path else 0.0
        return shared / words + _seconds_per_word(problem, model)
    path = path_seconds(problem, model, dual=dual) if with_path else 0.0
    return kappa_seconds(problem, model, dual=dual) + path


def seconds_per_step(problem: Problem, model: ModelMetadata, lanes: int, chooser: Chooser) -> float:
    """Predicted time (s) of one trial-step, if so many trials are trained in the cheapest way."""
    count = tokens(problem, model)
    way = chooser.cheapest(problem, model.size, count, lanes)
    return step_cost(way, problem, model.size, count, lanes).seconds


def path_pays(problem: Problem, model: ModelMetadata, lanes: int, chooser: Chooser, *, dual: bool) -> bool:
    """Whether a search is faster from the law's prediction: the path probe must cost less than the trials it saves."""
    saved = SAVED_TRIALS[problem.method] * problem.steps
    return path_seconds(problem, model, dual=dual) < saved * seconds_per_step(problem, model, lanes, chooser)


def set_probe_pays(problem: Problem, model: ModelMetadata, chooser: Chooser, words: int) -> bool:
    """Whether a search of that many words is faster from the law's predictions."""
    saved = SAVED_TRAININGS[problem.method] * problem.steps * seconds_per_step(problem, model, 1, chooser)
    return set_probe_seconds(problem, model, words) < saved


def set_probe_seconds(problem: Problem, model: ModelMetadata, words: int) -> float:
    """Predicted time (s) of probing a training set's words for their predictions, in addition to κ."""
    steps = max(SetProbe.STEPS, SetProbe.SHARE * problem.steps)
    return steps * _seconds_on_set(problem, model) + words * _seconds_per_word(problem, model)


def _seconds_on_set(problem: Problem, model: ModelMetadata) -> float:
    """Of the gradient of a batch."""
    return step_cost("reference", problem, model.size, tokens(problem, model), 1).seconds


def _seconds_per_word(problem: Problem, model: ModelMetadata) -> float:
    """Of the gradient of a word's gap."""
    return step_cost("reference", problem, model.size, prompt_tokens(problem, model), 1).seconds


def kappa_seconds(problem: Problem, model: ModelMetadata, *, dual: bool) -> float:
    """Predicted time (s) of probing κ of a prompt that is trained alone."""
    return 2 * _seconds_per_probe_step(problem, model, dual=dual)


def path_seconds(problem: Problem, model: ModelMetadata, *, dual: bool) -> float:
    """Predicted time (s) of probing a problem's path, in addition to κ."""
    # In the dual form a walk moves only a few coefficients.
    walked = 0.0 if dual else model.parameters * walked_bytes(problem) / BANDWIDTH
    return (len(shares(problem)) + 0.5) * _seconds_per_probe_step(problem, model, dual=dual) + walked


def _seconds_per_probe_step(problem: Problem, model: ModelMetadata, *, dual: bool) -> float:
    way: Way = "dual" if dual else "reference"
    gradients = problem.model_copy(update={"steps": GRADIENTS})
    return step_cost(way, gradients, model.size, tokens(problem, model), 1).seconds


def seconds_per_group_step(problem: Problem, model: ModelMetadata, group: RankGroup, lanes: int) -> float:
    """Predicted time (s) of one trial-step on a group; weights and gradients are sent.

    Where each rank trains lanes of its own, only weights are sent, twice a step, whatever the number of lanes. Else the
    ranks share the sequences of a training set's batch; of a single prompt each computes all.
    """
    if group.lanes:
        each = -(-lanes // group.ranks)
        own = step_cost(kinds_of(problem)[0], problem, model.size, tokens(problem, model), each)
        sent = 2 * bytes_per_parameter(problem) * model.parameters * (group.ranks - 1) / group.ranks
        return (each * own.seconds + sent / LINK) / lanes
    stage, ranks = group.stage, 1 if problem.training is None else group.ranks
    own = step_cost("reference", problem, model.size, max(1, tokens(problem, model) // ranks), 1)
    sent = bytes_per_parameter(problem) * model.parameters
    if problem.method == "full":
        sent *= stage  # stage 2: gradients and updated weights; stage 3: weights twice, and gradients
    elif stage == 2:
        sent = 0
    return own.seconds + RANK_OVERHEAD_S[stage] + sent / LINK
