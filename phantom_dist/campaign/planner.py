"""The inputs of a plan: the sweep, its models' metadata, and the run's resources."""

from __future__ import annotations

import importlib.util
from contextlib import suppress

from phantom_dist.campaign.options import RunOptions
from phantom_dist.core.errors import InputError, StoreError
from phantom_dist.engines import DEEPSPEED
from phantom_dist.instruments import plugin_instruments
from phantom_dist.models import ModelMetadata
from phantom_dist.models.description import describe
from phantom_dist.planning.plan import Plan, make_plan
from phantom_dist.planning.resources import Resources
from phantom_dist.scheduling.worker_kind import WorkerKind
from phantom_dist.spec import SweepSpec
from phantom_dist.traces import RunDirectory


def plan_run(
    spec: SweepSpec, options: RunOptions, directory: RunDirectory, kinds: tuple[WorkerKind, ...]
) -> Plan:
    """The plan of a run. A run that continues is planned for the resources with which it began, wherever it continues.

    Raises:
        InputError: a model doesn't exist or can't be trained, an instrument can't be loaded, or DeepSpeed is named and
            isn't installed.
    """
    engine, recorded = _recorded(directory)
    chosen = options.engine or engine or "auto"
    plugin_instruments.load(spec.instruments)  # reports a missing plug-in before anything runs
    models = models_of(spec)
    resources = recorded if recorded and engine == chosen else resources_of(kinds, chosen)
    return make_plan(spec, models, resources, engine=chosen)


def _recorded(directory: RunDirectory) -> tuple[str | None, Resources | None]:
    """Engine and resources of the run in the directory; None if there is no run, or its state can't be read."""
    with suppress(StoreError):
        state = directory.read_state()
        recorded = state.get("resources") or state.get("packing")  # `packing`: until 2026-11
        if recorded:
            return state.get("engine") or recorded["engine"], Resources.from_json(recorded)
    return None, None


def models_of(spec: SweepSpec) -> dict[str, ModelMetadata]:
    """Metadata of each model of a sweep, by its reference, with the tokens of the sweep's texts.

    Raises:
        InputError: a model doesn't exist, or can't be trained.
    """
    permissions = spec.execution
    return {
        name: describe(
            name,
            texts=[context.text for context in spec.contexts],
            allow_pickle=permissions.allow_pickle,
            trust_remote_code=permissions.trust_remote_code,
        )
        for name in spec.models
    }


def resources_of(kinds: tuple[WorkerKind, ...], engine: str) -> Resources:
    """The resources of a plan, given the available kinds of workers.

    Raises:
        InputError: the engine is `deepspeed`, which isn't installed.
    """
    if engine == DEEPSPEED and not has_deepspeed():
        raise InputError(
            "--engine deepspeed: DeepSpeed is not installed here. Install it on every node: "
            "pip install 'phantom-dist[deepspeed]'."
        )
    return Resources(kinds=kinds, deepspeed=has_deepspeed())


def has_deepspeed() -> bool:
    """Whether DeepSpeed is installed in this environment."""
    return importlib.util.find_spec("deepspeed") is not None
