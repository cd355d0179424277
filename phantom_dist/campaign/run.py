"""The main path: a sweep becomes critical rates, trials and traces in a run directory.

    plan -> probe every problem -> train what is asked for -> ask again, until every search is done

Workers store what they measure; the driver holds only summaries, and every decision follows from stored rows. So a
run that was interrupted at any moment is continued by the same code that started it.
"""

from __future__ import annotations

import dataclasses
import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from phantom_dist.campaign.budget import Budget
from phantom_dist.campaign.course import Campaign, Observer
from phantom_dist.campaign.plan import Plan, plan
from phantom_dist.campaign.status import status
from phantom_dist.core import plugins
from phantom_dist.core.activity import Activity, activity, preparation
from phantom_dist.core.errors import InputError, Interrupted, StoreError, did_you_mean
from phantom_dist.core.outcome import Outcome
from phantom_dist.engines import DEEPSPEED, ENGINES
from phantom_dist.models import Permissions, resolve
from phantom_dist.scheduling.address import chosen_address
from phantom_dist.scheduling.executor import Executor, Group, WorkerSettings
from phantom_dist.spec import SweepSpec, extends, from_yaml, load, spelled_as, to_yaml
from phantom_dist.traces import RunDirectory, Store, directory_and_sweep
from phantom_dist.traces.claim import claim
from phantom_dist.traces.event_log import recording
from phantom_dist.traces.leases import Leases

Row = dict[str, Any]

EXECUTORS = ("ray", "inprocess")
FAILURES = (Outcome.ERROR.value, Outcome.OUT_OF_MEMORY.value)


def run(
    sweep: Any,
    out: str | os.PathLike[str],
    *,
    address: str | None = None,
    executor: str = "ray",
    engine: str | None = None,
    workers: int | None = None,
    retry: str | None = None,
    max_hours: float | None = None,
    max_trials: int | None = None,
    observer: Observer = lambda progress: None,
) -> Row:
    """Run a sweep; on a directory of the same sweep it continues, with more values on the axes it extends.

    Args:
        sweep: a sweep file's path, a mapping in the same form, or a `SweepSpec`.
        out: the run directory, a local path or an object-store URI.
        address: Ray cluster: `local` starts one here, `auto` or `ray://…` joins one; None joins the one that
            RAY_ADDRESS names, else starts one.
        executor: `ray`, or `inprocess` for this process alone.
        engine: `auto` or an engine's name; None: as the run in the directory began, else `auto`.
        workers: number of workers; None fills the cluster. Results don't depend on it.
        retry: `failed` runs again what ended in `error` or `out_of_memory`; otherwise that is left as it is.
        max_hours: begin nothing more after so many hours (h); what runs then comes to its end.
        max_trials: begin no further batch once so many trials were begun.
        observer: called with a `Progress` about once a second.

    Returns:
        The same object as `status(out)`.

    Raises:
        InputError: the input as a whole is wrong; nothing was run.
        StoreError: results can't be stored; what was stored is kept.
        Interrupted: as it came; says whether the directory can be resumed.
    """
    _one_of("--executor", executor, EXECUTORS)
    _one_of("--engine", engine, (None, "auto", *ENGINES, DEEPSPEED))
    _one_of("--retry", retry, (None, "failed"))
    budget = Budget(hours=max_hours, trials=max_trials)
    directory = RunDirectory(Store(out))
    chosen = engine or _began_with(directory) or "auto"
    with recording() as log, _saying_what_is_kept(directory):
        if executor == "ray":
            _check_ray(chosen_address(address))
        with preparation(), activity(Activity.PLANNING, "planning"):
            spec = _spelled_as_there(load(sweep), directory)
            planned = _with_room(plan(spec, engine=chosen), executor, chosen_address(address))
        with claim(directory) as leases:
            directory = directory.under(leases.own)
            _same_sweep(planned, directory)
            planned = planned.packed_as(directory.read_state().get("packing"))
            directory.forget_cancel()
            directory.discard_halves()
            if retry == "failed":
                directory.discard_failed(FAILURES)
            directory.write_plan(planned.rows())
            directory.write_sweep(to_yaml(planned.spec))
            with log.kept_in(directory.store, leases.driver):
                campaign = Campaign(planned, directory, leases, budget, observer)
                campaign.execute(
                    lambda group: _executor(
                        planned, directory, leases, chosen_address(address), executor, group, workers
                    )
                )
                directory.discard_halves()
                if budget.spent is not None:
                    log.outcome = f"interrupted: {budget.spent}"
    return status(out)


def resume(out: str | os.PathLike[str], **how: Any) -> Row:
    """Continue an interrupted run; `how` as in `run`. Nothing that is stored is run again.

    Raises:
        InputError: there is no run in that directory; else as `run`.
    """
    return run(directory_and_sweep(out)[1], out, **how)


def cancel(out: str | os.PathLike[str]) -> Row:
    """Ask the driver of a live run to stop; batches that run are lost and run again when it is resumed.

    Returns:
        The object of `status(out)`, at the time of asking.

    Raises:
        InputError: there is no run in that directory, or none that is live.
    """
    now = status(out)
    if now["state"] != "running":
        raise InputError(f"{out}: no run is live here (it is {now['state']}), so there is nothing to cancel.")
    directory_and_sweep(out)[0].cancel()
    return now


@contextmanager
def _saying_what_is_kept(directory: RunDirectory) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        stored, location = False, directory.store.location
        with suppress(StoreError):
            stored = directory.read_sweep() is not None
        if not stored:
            raise Interrupted("interrupted before anything was run; nothing is stored") from None
        raise Interrupted(
            f"interrupted; what was stored is kept: continue with `phantom-dist resume {shlex.quote(location)}`"
        ) from None


def _began_with(directory: RunDirectory) -> str | None:
    """The engine of the run that is there; None where there is none, or nothing can be read, which `claim` will say."""
    with suppress(StoreError):
        engine: str | None = directory.read_state().get("packing", {}).get("engine")
        return engine
    return None


def _spelled_as_there(spec: SweepSpec, directory: RunDirectory) -> SweepSpec:
    """The sweep with its models called as in the directory; unchanged where none can be read."""
    with suppress(StoreError):
        text = directory.read_sweep()
        if text is not None:
            stored = from_yaml(text, source=f"{directory.store.location}/sweep.yaml")
            return spelled_as(spec, stored)
    return spec


def _check_ray(address: str) -> None:
    from phantom_dist.scheduling.ray_executor import check

    check(address)


def _with_room(planned: Plan, executor: str, address: str) -> Plan:
    """The plan with as many ranks to a group as there is room for where it will run."""
    execution = planned.spec.execution
    if executor == "inprocess":
        if planned.engine == DEEPSPEED:
            raise InputError("--engine deepspeed needs several processes: --executor ray.")
        return dataclasses.replace(planned, workers=1)
    if address == "local" or not planned.may_need_groups:
        return planned
    from phantom_dist.scheduling.ray_executor import cluster_room

    return dataclasses.replace(planned, workers=cluster_room(address, execution.device, execution.threads))


def _one_of(option: str, value: str | None, allowed: Sequence[str | None]) -> None:
    if value not in allowed:
        names = [name for name in allowed if name is not None]
        raise InputError(f"{option} {value}: there is no such choice.{did_you_mean(str(value), names)}")


def _same_sweep(planned: Plan, directory: RunDirectory) -> None:
    text = directory.read_sweep()
    location = directory.store.location
    if text is None:
        if directory.store.names() not in ([], ["plan.parquet"]):  # a start that ended right after its plan
            raise InputError(
                f"--out {location}: the directory is not empty and holds no run. Choose another one."
            )
        return
    if not directory.store.names("probes") and not directory.store.names("trials"):
        return  # an earlier start ended before it measured anything
    differences = extends(from_yaml(text, source=f"{location}/sweep.yaml"), planned.spec)
    if differences:
        raise InputError(
            f"--out {location}: the directory belongs to another sweep. A sweep may only gain values on its axes; "
            f"here:\n" + "\n".join(f"  {line}" for line in differences)
        )


@preparation()
@activity(Activity.STARTING, "starting workers")
def _executor(
    planned: Plan,
    directory: RunDirectory,
    leases: Leases,
    address: str,
    executor: str,
    group: Group | None,
    workers: int | None,
) -> Executor:
    execution, local = planned.spec.execution, directory.store.local_path
    settings = WorkerSettings(
        location=directory.store.location if local is None else str(local),
        driver=leases.driver,
        engine=planned.engine if group is None else "auto",
        group=group,
        device=execution.device,
        threads=execution.threads,
        permissions=Permissions(pickle=execution.allow_pickle, remote_code=execution.trust_remote_code),
        instruments=planned.spec.instruments,
        plugins=plugins.used_by(planned.spec.models, planned.spec.instruments),
    )
    if executor == "inprocess":
        from phantom_dist.scheduling.inprocess import InProcessExecutor

        return InProcessExecutor(settings)
    from phantom_dist.scheduling.ray_executor import RayExecutor

    if address == "local":
        # Once here rather than by every worker at the same time: dequantising a GGUF file takes long.
        for model in planned.spec.models:
            with activity(Activity.LOADING, f"preparing {model}"):
                resolve(
                    model, allow_pickle=execution.allow_pickle, trust_remote_code=execution.trust_remote_code
                )
    return RayExecutor(settings, address, workers, useful=planned.at_once(group))
