"""`plan`: what a run would do, without doing it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from phantom_dist.campaign.planner import models_of, resources_of
from phantom_dist.core.result import Result
from phantom_dist.data.of_sweep import with_data
from phantom_dist.instruments import plugin_instruments
from phantom_dist.planning.plan import Plan, make_plan
from phantom_dist.planning.summary import plan_json, plan_lines
from phantom_dist.scheduling.this_machine import worker_kind
from phantom_dist.spec import load


@dataclass(frozen=True, slots=True)
class PlanPreview(Result):
    """What a run would do on this machine; `plan` is the full plan, `notes` what to know about the training data."""

    plan: Plan
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The JSON object of `phantom-dist plan`."""
        return plan_json(self.plan) | {"data_notes": list(self.notes)}

    def parts(self) -> Iterator[str]:
        """Trials, batches, models, groups of ranks, predicted time and memory, and notes about the data."""
        yield from plan_lines(self.to_json())
        yield from self.notes


def plan(sweep: Any, *, engine: str = "auto") -> PlanPreview:
    """Plan a sweep for this machine.

    Args:
        sweep: a sweep file's path, a mapping in the same form, or a `SweepSpec`.
        engine: `auto` trains batches in the way that costs least, and forms groups of ranks for models that don't fit a
            single worker.

    Raises:
        InputError: the sweep is wrong, one of its models doesn't exist or can't be trained, an instrument can't be
            loaded, or `deepspeed` is named and isn't installed.
    """
    read = with_data(load(sweep))
    spec = read.spec
    plugin_instruments.load(spec.instruments)  # reports a missing plug-in
    kinds = (worker_kind(spec.execution.device, spec.execution.threads),)
    made = make_plan(spec, models_of(spec), resources_of(kinds, engine), engine=engine)
    return PlanPreview(made, read.notes)
