"""Predicted time and memory: rough, from bytes moved, operations done and, for lanes, a measured footprint.

A full fine-tuning step on the reference engine reads the weights twice, writes and reads their gradients, and updates
them: about 30 bytes a parameter in float32. LoRA neither writes nor reads the weights' gradients: about 12. One
forward and one backward pass do 6 operations per parameter and token. Whichever takes longer counts, plus a constant
for Python.

Lanes read the weights once for all of them and do 4 operations per parameter and token, as no gradient of shared
weights is taken; the constant is shared too.
"""

from __future__ import annotations

from collections.abc import Callable

from phantom_dist.core.trial import Problem
from phantom_dist.engines.lanes.choice import kind_of
from phantom_dist.engines.lanes.dual_coordinates import dual_pays
from phantom_dist.engines.lanes.footprint import lane_bytes
from phantom_dist.engines.path import shares
from phantom_dist.models import ModelMetadata
from phantom_dist.planning.sizes import tokens

BANDWIDTH = 6e9
"""Bytes per second that one CPU thread moves, of two that work at once (measured on SmolLM2-135M's training step)."""

OPERATIONS = 4e10
"""Floating-point operations per second of one CPU thread."""

OVERHEAD_S = 0.006
"""Seconds per step that have nothing to do with the model's size: Python, instruments."""

BATCH_OVERHEAD_S = 0.02
"""The same for a step of a batch of lanes."""

SAVED_TRIALS = {"full": 1.2, "lora": 3.0}
"""Trials that the law's prediction spares a search to 1 % (mean over the shipped calibration, models left out)."""

_WALKED_BYTES: dict[tuple[str, str], Callable[[int], float]] = {
    ("full", "sgd"): lambda steps: 270,
    ("full", "adamw"): lambda steps: 400 + 21 * steps,
    ("lora", "sgd"): lambda steps: 0,
    ("lora", "adamw"): lambda steps: 0,
}
"""Bytes that the walks of a path probe move for each parameter (measured on SmolLM2-135M), but in the dual form."""

WORKER_BYTES = 0.7e9
"""Memory of a worker process before it loads a model."""

RANK_BYTES = 0.6e9
"""Memory of a rank's process before it loads a model, DeepSpeed's buckets included."""

STATES = {"sgd": 0, "momentum": 1, "adamw": 2}
"""Numbers that an optimizer keeps for each trained parameter."""

LINK = 1e9
"""Bytes per second that a rank of a group sends to others."""

RANK_OVERHEAD_S = {2: 0.03, 3: 0.08}
"""Seconds of a group's step that have nothing to do with the model's size, by ZeRO's stage."""


def seconds_per_step(problem: Problem, parameters: int) -> float:
    """Predicted seconds of one trial-step on the reference engine (forward, backward, update and instruments)."""
    moved = parameters * (12 if problem.method == "lora" else 30)
    return max(moved / BANDWIDTH, 6 * parameters * tokens(problem) / OPERATIONS) + OVERHEAD_S


def seconds_per_lane_step(problem: Problem, parameters: int, lanes: int) -> float:
    """Predicted seconds of one trial-step as one of so many lanes."""
    moved = parameters * (40 if kind_of(problem) == "stacked" else 8 / lanes)
    done = 4 * parameters * tokens(problem) * (1.3 if kind_of(problem) == "dual" else 1.0)
    return max(moved / BANDWIDTH, done / OPERATIONS) + BATCH_OVERHEAD_S / lanes


def path_pays(problem: Problem, parameters: int, lanes: int) -> bool:
    """Whether a search is done sooner when it starts from the law: if the probe takes less than the trials it saves."""
    saved = SAVED_TRIALS[problem.method] * problem.steps
    return path_seconds(problem, parameters) < saved * seconds_per_lane_step(problem, parameters, lanes)


def kappa_seconds(problem: Problem, parameters: int) -> float:
    """Predicted seconds of probing κ."""
    return 2 * _probe_step(problem, parameters)[0]


def path_seconds(problem: Problem, parameters: int) -> float:
    """Predicted seconds of probing a problem's path, beyond what κ takes in any case."""
    step, walked = _probe_step(problem, parameters)
    return (len(shares(problem)) + 0.5) * step + walked


def _probe_step(problem: Problem, parameters: int) -> tuple[float, float]:
    """Seconds of a trial-step of a probe, and of all walks between its points."""
    if dual_pays(problem, parameters, tokens(problem)):
        return seconds_per_lane_step(problem, parameters, 1), 0.0  # walks of a few coefficients
    moved = parameters * _WALKED_BYTES[problem.method, problem.optimizer.name](problem.steps)
    return seconds_per_step(problem, parameters), moved / BANDWIDTH


def worker_bytes(problem: Problem, model: ModelMetadata, lanes: int) -> float:
    """Predicted peak memory (bytes) of a worker: its process, then the larger of probing and of training.

    Probing full fine-tuning takes the weights, their untouched copy and two gradients. The dual form needs the weights
    alone, but whether an architecture has it is known only when its model is there.
    """
    weights = model.parameters * bytes_per_parameter(problem)
    held = weights * (2 if problem.method == "full" else 1)
    probing = 2 * weights if problem.method == "full" else 0.0
    return WORKER_BYTES + held + max(probing, lanes * _lane_bytes(problem, model))


def rank_bytes(problem: Problem, model: ModelMetadata, ranks: int, stage: int) -> float:
    """Predicted peak memory (bytes) of each rank of a group, which it reaches while κ is measured.

    Of the trained parameters a rank holds its share of the master copy, the untouched copy, the first direction, the
    optimizer's state and the gradient: at stage 2 three times (as it arrives, averaged, as the optimizer takes it), at
    stage 3 once. The weights are whole at stage 2; at stage 3 they are a share, and the readout matrix is gathered,
    with its gradient in three forms. Measured on SmolLM2-135M and two ranks: 2.6 and 3.1 GB at stage 2 (SGD, AdamW),
    2.2 GB at stage 3 (SGD), beside 0.1 GB of libraries.
    """
    number = bytes_per_parameter(problem)
    weights, trained = float(model.parameters), float(model.parameters)
    if problem.lora is not None:
        # Both factors, at four matrices of a layer.
        trained = 8.0 * problem.lora.rank * model.width * model.layers
    shared = 6 + STATES["momentum" if problem.optimizer.momentum else problem.optimizer.name]
    whole = weights
    if stage == 3:
        shared -= 2
        whole = weights / ranks + 4 * model.vocabulary_size * model.width
    return RANK_BYTES + number * (whole + shared * trained / ranks)


def seconds_per_group_step(problem: Problem, model: ModelMetadata, stage: int) -> float:
    """Predicted seconds of one trial-step on a group: each rank computes all of it; weights and gradients travel."""
    sent = bytes_per_parameter(problem) * model.parameters
    if problem.method == "full":
        sent *= stage  # stage 2: gradients and new weights; stage 3: weights twice and gradients
    elif stage == 2:
        sent = 0
    return seconds_per_step(problem, model.parameters) + RANK_OVERHEAD_S[stage] + sent / LINK


def lanes_that_fit(problem: Problem, model: ModelMetadata, worker_memory: float) -> int:
    """How many lanes of a problem a worker with so much memory (bytes) has room for; 0 where it has none for one."""
    if not fits_worker(problem, model, worker_memory):
        return 0
    room = worker_memory - worker_bytes(problem, model, 0)
    return max(1, int(room // _lane_bytes(problem, model)))


def fits_worker(problem: Problem, model: ModelMetadata, worker_memory: float) -> bool:
    """Whether one worker has the memory (bytes) to train one trial."""
    return worker_bytes(problem, model, 1) <= worker_memory


def bytes_per_parameter(problem: Problem) -> int:
    """Bytes of one number."""
    return 2 if problem.precision == "bfloat16" else 4


def _lane_bytes(problem: Problem, model: ModelMetadata) -> float:
    return lane_bytes(
        kind=kind_of(problem),
        optimizer=problem.optimizer,
        rank=0 if problem.lora is None else problem.lora.rank,
        steps=problem.steps,
        tokens=tokens(problem),
        parameters=model.parameters,
        width=model.width,
        layers=model.layers,
        vocabulary_size=model.vocabulary_size,
        number=bytes_per_parameter(problem),
    )
