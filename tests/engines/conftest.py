"""Real models of the zoo with one context, on one thread.

The suites of this folder run on a GPU as well: `PHANTOM_DIST_TEST_DEVICE=cuda pytest tests/engines`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from phantom_dist import models
from phantom_dist.core.probe_result import Measured
from phantom_dist.core.trial import Context, Lora, Optimizer, Problem, Schedule
from phantom_dist.engines.probe import probe
from phantom_dist.models import LoadedModel
from phantom_dist.spec import load_contexts

DEVICE = os.environ.get("PHANTOM_DIST_TEST_DEVICE", "cpu")
CONTEXTS = {c.id: c for c in load_contexts(Path(__file__).parents[2] / "sweeps/contexts/zoo.yaml")}
CONTEXT = next(iter(CONTEXTS.values()))


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    if DEVICE == "cuda":  # what a worker sets
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        torch.use_deterministic_algorithms(True, warn_only=True)
    yield
    torch.set_num_threads(before)


def load(model: str, **more) -> LoadedModel:
    """A model on the device that is tested."""
    return models.load(model, device=DEVICE, **more)


@pytest.fixture(scope="session")
def loaded() -> LoadedModel:
    return load("zoo:gpt2-a")


def problem(
    method: str = "full", optimizer: str = "sgd", *, context: Context = CONTEXT, steps: int = 4, **more
):
    settings = {k: more.pop(k) for k in ("momentum", "weight_decay") if k in more}
    schedule = Schedule(**more.pop("schedule", {}))
    lora = Lora(rank=4, alpha=8, targets=more.pop("targets", "attention")) if method == "lora" else None
    return Problem(
        model="zoo:gpt2-a",
        context=context,
        method=method,
        lora=lora,
        optimizer=Optimizer(name=optimizer, **settings),
        schedule=schedule,
        steps=steps,
        **more,
    )


def measured_of(loaded: LoadedModel, method: str = "full", optimizer: str = "sgd", **more) -> Measured:
    measured = probe(loaded, problem(method, optimizer, **more))
    assert isinstance(measured, Measured), measured
    return measured
