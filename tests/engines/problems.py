"""Problems of a zoo model with one context, and what their probes measure."""

from __future__ import annotations

import os
from pathlib import Path

from phantom_dist.core.probe_result import Measured
from phantom_dist.core.schedule import Schedule
from phantom_dist.core.trial import Context, Lora, Optimizer, Problem
from phantom_dist.engines import engine_named
from phantom_dist.engines.engine import Engine
from phantom_dist.engines.lanes.engine import LanesEngine
from phantom_dist.engines.lanes.support import kinds_of
from phantom_dist.engines.probe import probe
from phantom_dist.models.load import LoadedModel
from phantom_dist.models.load import load as load_model
from phantom_dist.spec import load_contexts

DEVICE = os.environ.get("PHANTOM_DIST_TEST_DEVICE", "cpu")
CONTEXTS = {c.id: c for c in load_contexts(Path(__file__).parents[2] / "sweeps/contexts/zoo.yaml")}
CONTEXT = next(iter(CONTEXTS.values()))


def load(model: str, **more) -> LoadedModel:
    """A model on the device under test."""
    return load_model(model, device=DEVICE, **more)


def problem(
    method: str = "full", optimizer: str = "sgd", *, context: Context = CONTEXT, steps: int = 4, **more
):
    settings = {k: more.pop(k) for k in ("momentum", "weight_decay", "decay") if k in more}
    schedule = Schedule(**more.pop("schedule", {}))
    adapters = {k: more.pop(k) for k in ("targets", "rslora") if k in more}
    lora = Lora(rank=4, alpha=8, **adapters) if method == "lora" else None
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


def lanes_for(problem: Problem, *more) -> LanesEngine:
    """The engine that trains a problem as lanes of the first kind that can, whatever costs least."""
    return LanesEngine(*more, ways=kinds_of(problem)[:1])


def engine_for(name: str, problem: Problem, *more) -> Engine:
    """An engine by its name; `lanes` is that of `lanes_for`."""
    return lanes_for(problem, *more) if name == "lanes" else engine_named(name, *more)
