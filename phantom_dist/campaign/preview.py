"""`plan`: what a run would do, without doing it; and the facts that a plan is made from."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from phantom_dist.core.errors import InputError
from phantom_dist.core.result import Result
from phantom_dist.engines import DEEPSPEED
from phantom_dist.instruments import outside
from phantom_dist.models import ModelMetadata, describe
from phantom_dist.planning.plan import Plan, make_plan
from phantom_dist.planning.resources import Resources
from phantom_dist.planning.summary import plan_json, plan_lines
from phantom_dist.scheduling.this_machine import worker_kind
from phantom_dist.scheduling.worker_kind import WorkerKind
from phantom_dist.spec import SweepSpec, load


@dataclass(frozen=True, slots=True)
class PlanPreview(Result):
    """What a run would do on this machine; `plan` has it in full."""

    plan: Plan

    def to_json(self) -> dict[str, Any]:
        """The JSON object of `phantom-dist plan`."""
        return plan_json(self.plan)

    def parts(self) -> Iterator[str]:
        """Trials, batches, models, groups of ranks; predicted time and memory."""
        return plan_lines(self.to_json())


def plan(sweep: Any, *, engine: str = "auto") -> PlanPreview:
    """Plan a sweep for this machine: a file's path, a mapping in the same form, or a `SweepSpec`.

    Args:
        sweep: what to plan.
        engine: what will train it; `auto` packs trials as lanes, and forms a group for a model that fits no worker.

    Raises:
        InputError: the sweep is wrong, one of its models doesn't exist or can't be trained, an instrument can't be
            loaded, or `deepspeed` is named and isn't installed.
    """
    spec = load(sweep)
    outside.load(spec.instruments)  # what can't be measured is reported before anything runs
    kinds = (worker_kind(spec.execution.device, spec.execution.threads),)
    return PlanPreview(make_plan(spec, models_of(spec), resources_of(kinds, engine), engine=engine))


def models_of(spec: SweepSpec) -> dict[str, ModelMetadata]:
    """What is known of each model of a sweep, by its reference.

    Raises:
        InputError: one doesn't exist, or can't be trained.
    """
    permissions = spec.execution
    return {
        name: describe(
            name, allow_pickle=permissions.allow_pickle, trust_remote_code=permissions.trust_remote_code
        )
        for name in spec.models
    }


def resources_of(kinds: tuple[WorkerKind, ...], engine: str) -> Resources:
    """What a plan has to work with, given the kinds of workers there is room for.

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
