"""Checks that a directory belongs to the sweep that is about to run, and takes it over."""

from __future__ import annotations

from contextlib import suppress

from phantom_dist.core.errors import InputError, StoreError
from phantom_dist.core.outcome import Outcome
from phantom_dist.data import TrainingData
from phantom_dist.planning.plan import Plan
from phantom_dist.planning.summary import plan_rows
from phantom_dist.spec import SweepSpec, extends, from_yaml, spelled_as, to_yaml
from phantom_dist.traces import RunDirectory
from phantom_dist.traces.training_data import write_examples

FAILURES = (Outcome.ERROR.value, Outcome.OUT_OF_MEMORY.value)


def spelled_as_stored(spec: SweepSpec, directory: RunDirectory) -> SweepSpec:
    """The sweep with its models spelled as in the directory's sweep; unchanged if that can't be read."""
    with suppress(StoreError):
        text = directory.read_sweep()
        if text is not None:
            stored = from_yaml(text, source=f"{directory.store.location}/sweep.yaml")
            return spelled_as(spec, stored)
    return spec


def take_over(directory: RunDirectory, plan: Plan, data: TrainingData | None, *, retry_failed: bool) -> None:
    """Write data, sweep and plan into the directory, and remove half batches of an earlier start.

    Args:
        directory: the run directory, under the driver's own lease.
        plan: the plan that is about to run.
        data: what it trains on; None without a training set, or if the directory has the data.
        retry_failed: also remove what ended in `FAILURES`, so that it runs again.

    Raises:
        InputError: the directory belongs to another sweep, or holds other files.
    """
    _check_same_sweep(plan.spec, directory)
    directory.forget_cancel()
    directory.discard_halves()
    if retry_failed:
        directory.discard_failed(FAILURES)
    if data is not None:
        write_examples(directory, data.sha256, data)
    directory.write_plan(plan_rows(plan))
    directory.write_sweep(to_yaml(plan.spec))


def _check_same_sweep(spec: SweepSpec, directory: RunDirectory) -> None:
    text = directory.read_sweep()
    location = directory.store.location
    if text is None:
        # A start that ended early leaves its plan and its data.
        if any(name != "plan.parquet" and not name.startswith("data/") for name in directory.store.names()):
            raise InputError(
                f"--out {location}: the directory is not empty and holds no run. Choose another one."
            )
        return
    if not directory.store.names("probes") and not directory.store.names("trials"):
        return  # an earlier start ended before it measured anything
    differences = extends(from_yaml(text, source=f"{location}/sweep.yaml"), spec)
    if differences:
        raise InputError(
            f"--out {location}: the directory belongs to another sweep. A sweep may only gain values on its axes; "
            f"here:\n" + "\n".join(f"  {line}" for line in differences)
        )
