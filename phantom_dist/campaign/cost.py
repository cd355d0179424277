"""Predicted time and memory of trials on the reference engine: rough, from bytes moved and operations done.

A full fine-tuning step reads the weights twice, writes and reads their gradients, and updates them: about 30 bytes a
parameter in float32. LoRA neither writes nor reads the weights' gradients: about 12. One forward and one backward
pass do 6 operations per parameter and token. Whichever takes longer counts, plus a constant for Python.
"""

from __future__ import annotations

from phantom_dist.core.trial import Problem

BANDWIDTH = 6e9
"""Bytes per second that one CPU thread moves, of two that work at once (measured on SmolLM2-135M's training step)."""

OPERATIONS = 4e10
"""Floating-point operations per second of one CPU thread."""

OVERHEAD_S = 0.006
"""Seconds per step that have nothing to do with the model's size: Python, instruments."""

WORKER_BYTES = 0.7e9
"""Memory of a worker process before it loads a model."""


def seconds_per_step(problem: Problem, parameters: int) -> float:
    """Predicted seconds of one trial-step (one forward and one backward pass, update and instruments)."""
    tokens = len(problem.context.text.split()) + 1
    moved = parameters * (12 if problem.method == "lora" else 30)
    return max(moved / BANDWIDTH, 6 * parameters * tokens / OPERATIONS) + OVERHEAD_S


def worker_bytes(problem: Problem, parameters: int) -> float:
    """Predicted peak memory (bytes) of a worker: weights, their untouched copy, gradients, optimizer state."""
    copies = 1.0
    if problem.method == "full":
        state = 2 if problem.optimizer.name == "adamw" else bool(problem.optimizer.momentum)
        copies = 3 + state  # weights, their untouched copy, gradients (or the probe's first direction)
    size = 2 if problem.precision == "bfloat16" else 4
    return WORKER_BYTES + copies * size * parameters
