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
from phantom_dist.engines.lanes.footprint import lane_bytes
from phantom_dist.engines.lanes.kinds import kind_of
from phantom_dist.engines.path import shares
from phantom_dist.models import ModelMetadata
from phantom_dist.scheduling.packing import tokens

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
"""Bytes that the walks of a path probe move for each parameter (measured on SmolLM2-135M)."""

WORKER_BYTES = 0.7e9
"""Memory of a worker process before it loads a model."""


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


def path_seconds(problem: Problem, parameters: int) -> float:
    """Predicted seconds of probing a problem's path, beyond what κ takes in any case."""
    walked = parameters * _WALKED_BYTES[problem.method, problem.optimizer.name](problem.steps) / BANDWIDTH
    return (len(shares(problem)) + 0.5) * seconds_per_step(problem, parameters) + walked


def worker_bytes(problem: Problem, model: ModelMetadata, lanes: int) -> float:
    """Predicted peak memory (bytes) of a worker: its process, then the larger of probing and of training.

    Probing full fine-tuning takes the weights, their untouched copy and two gradients.
    """
    weights = model.parameters * bytes_per_parameter(problem)
    held = weights * (2 if problem.method == "full" else 1)
    probing = 2 * weights if problem.method == "full" else 0.0
    return WORKER_BYTES + held + max(probing, lanes * _lane_bytes(problem, model))


def lanes_that_fit(problem: Problem, model: ModelMetadata, worker_memory: float) -> int:
    """How many lanes of a problem a worker has room for; at least 1."""
    room = worker_memory - worker_bytes(problem, model, 0)
    return max(1, int(room // _lane_bytes(problem, model)))


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
