"""The main path: a sweep becomes critical rates, trials and traces in a run directory.

    plan -> probe every problem -> train what the searches want -> ask them again, until every search is done

Workers store what they measure; the driver holds only summaries, and every decision follows from what is stored. So a
run that was interrupted at any moment is continued by the same code that started it.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Unpack

from phantom_dist.campaign.options import Options, RunOptions
from phantom_dist.campaign.preview import models_of, resources_of
from phantom_dist.campaign.run_driver import Observer, RunDriver
from phantom_dist.campaign.run_state import RunState
from phantom_dist.campaign.search_start import LawStart
from phantom_dist.campaign.status import RunStatus, status
from phantom_dist.core import plugins
from phantom_dist.core.activity import Activity, activity, preparation
from phantom_dist.core.errors import Cancelled, InputError, Interrupted, StoreError
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.summaries import TrialSummary
from phantom_dist.instruments import outside
from phantom_dist.models import Permissions, resolve
from phantom_dist.planning.plan import Phase, Plan, make_plan
from phantom_dist.planning.resources import Resources
from phantom_dist.planning.summary import plan_rows
from phantom_dist.records import probe_result_from_row
from phantom_dist.scheduling.address import chosen_address
from phantom_dist.scheduling.cluster import Cluster
from phantom_dist.scheduling.executor import Executor, WorkerSettings
from phantom_dist.scheduling.worker_kind import WorkerKind
from phantom_dist.spec import SweepSpec, extends, from_yaml, load, spelled_as, to_yaml
from phantom_dist.traces import RunDirectory, Store, directory_and_sweep
from phantom_dist.traces.claim import claim
from phantom_dist.traces.event_log import recording
from phantom_dist.traces.leases import Leases

FAILURES = (Outcome.ERROR.value, Outcome.OUT_OF_MEMORY.value)


def run(
    sweep: Any,
    out: str | os.PathLike[str],
    *,
    observer: Observer = lambda progress: None,
    **options: Unpack[Options],
) -> RunStatus:
    """Run a sweep; on a directory of the same sweep it continues, with more values on the axes it extends.

    Args:
        sweep: a sweep file's path, a mapping in the same form, or a `SweepSpec`.
        out: the run directory, a local path or an object-store URI.
        observer: called with a `Progress` about once a second.
        options: see `RunOptions`. Results don't depend on them.

    Returns:
        The same as `status(out)`.

    Raises:
        InputError: the input as a whole is wrong; nothing was run.
        StoreError: results can't be stored; what was stored is kept.
        Interrupted: as it came; says whether the directory can be resumed.
    """
    chosen = RunOptions(**options)
    directory = RunDirectory(Store(out))
    with recording() as log, _interruption_explained(directory), _cluster(chosen) as cluster:
        with preparation(), activity(Activity.PLANNING, "planning"):
            spec = _spelled_as_stored(load(sweep), directory)
            kinds = cluster.worker_kinds(spec.execution.device, spec.execution.threads)
            plan = _plan(spec, chosen, directory, kinds)
        with claim(directory) as leases:
            directory = directory.under(leases.own)
            _prepare(directory, plan, chosen)
            with log.kept_in(directory.store, leases.driver):
                driver = RunDriver(_restored(plan, directory), directory, leases, chosen.budget, observer)
                driver.execute(
                    lambda phase: _executor(plan, phase, cluster, directory, leases, chosen.workers),
                    largest_worker=max(kind.memory_bytes for kind in kinds),
                )
                directory.discard_halves()
                if (reason := directory.read_state().get("reason")) is not None:
                    log.outcome = f"interrupted: {reason}"
    return status(out)


def resume(
    out: str | os.PathLike[str],
    *,
    observer: Observer = lambda progress: None,
    **options: Unpack[Options],
) -> RunStatus:
    """Continue an interrupted run, with options as in `run`. Nothing that is stored is run again.

    Raises:
        InputError: there is no run in that directory; else as `run`.
    """
    return run(directory_and_sweep(out)[1], out, observer=observer, **options)


def cancel(out: str | os.PathLike[str]) -> RunStatus:
    """Stop a live run from outside; batches that run are lost, and run again when it is resumed.

    Returns:
        The run's status at the time of the call.

    Raises:
        InputError: there is no run in that directory, or none that is live.
    """
    now = status(out)
    if now.state != "running":
        raise InputError(f"{out}: no run is live here (it is {now.state}), so there is nothing to cancel.")
    directory_and_sweep(out)[0].cancel()
    return now


def _cluster(options: RunOptions) -> Cluster:
    if options.executor == "inprocess":
        from phantom_dist.scheduling.inprocess import ThisProcess

        return ThisProcess()
    from phantom_dist.scheduling.ray_cluster import RayCluster

    return RayCluster(chosen_address(options.address))


@contextmanager
def _interruption_explained(directory: RunDirectory) -> Iterator[None]:
    """Say what is kept, and how to go on."""
    try:
        yield
    except KeyboardInterrupt as interruption:
        how = "cancelled" if isinstance(interruption, Cancelled) else "interrupted"
        stored, location = False, directory.store.location
        with suppress(StoreError):
            stored = directory.read_sweep() is not None
        if not stored:
            raise Interrupted(f"{how} before anything was run; nothing is stored") from None
        raise Interrupted(
            f"{how}; what was stored is kept: continue with `phantom-dist resume {shlex.quote(location)}`"
        ) from None


def _spelled_as_stored(spec: SweepSpec, directory: RunDirectory) -> SweepSpec:
    """The sweep with its models called as in the directory; unchanged where none can be read."""
    with suppress(StoreError):
        text = directory.read_sweep()
        if text is not None:
            stored = from_yaml(text, source=f"{directory.store.location}/sweep.yaml")
            return spelled_as(spec, stored)
    return spec


def _plan(
    spec: SweepSpec, options: RunOptions, directory: RunDirectory, kinds: tuple[WorkerKind, ...]
) -> Plan:
    """The plan; where a run continues it is made for the resources that the run began with, wherever it goes on."""
    engine, recorded = _recorded(directory)
    chosen = options.engine or engine or "auto"
    outside.load(spec.instruments)  # what can't be measured is reported before anything runs
    models = models_of(spec)
    resources = recorded if recorded and engine == chosen else resources_of(kinds, chosen)
    return make_plan(spec, models, resources, engine=chosen)


def _recorded(directory: RunDirectory) -> tuple[str | None, Resources | None]:
    """Engine and resources of the run that is there; None where there is none, or nothing can be read."""
    with suppress(StoreError):
        state = directory.read_state()
        recorded = state.get("resources") or state.get("packing")  # `packing`: until 2026-11
        if recorded:
            return state.get("engine") or recorded["engine"], Resources.from_json(recorded)
    return None, None


def _prepare(directory: RunDirectory, plan: Plan, options: RunOptions) -> None:
    """Make the directory this run's own, and remove what an earlier start left half done."""
    _check_same_sweep(plan.spec, directory)
    directory.forget_cancel()
    directory.discard_halves()
    if options.retry == "failed":
        directory.discard_failed(FAILURES)
    directory.write_plan(plan_rows(plan))
    directory.write_sweep(to_yaml(plan.spec))


def _check_same_sweep(spec: SweepSpec, directory: RunDirectory) -> None:
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
    differences = extends(from_yaml(text, source=f"{location}/sweep.yaml"), spec)
    if differences:
        raise InputError(
            f"--out {location}: the directory belongs to another sweep. A sweep may only gain values on its axes; "
            f"here:\n" + "\n".join(f"  {line}" for line in differences)
        )


def _restored(plan: Plan, directory: RunDirectory) -> RunState:
    """The state of the run from what earlier starts stored."""
    state = RunState(plan, LawStart())
    problems = {problem.key: problem for problem in plan.problems}
    state.restore(
        results=(
            probe_result_from_row(row, problems[row["problem"]])
            for row in directory.probes().to_pylist()
            if row["problem"] in problems
        ),
        trials=map(TrialSummary.from_row, directory.trials().to_pylist()),
    )
    return state


@preparation()
@activity(Activity.STARTING, "starting workers")
def _executor(
    plan: Plan,
    phase: Phase,
    cluster: Cluster,
    directory: RunDirectory,
    leases: Leases,
    workers: int | None,
) -> Executor:
    execution, local = plan.spec.execution, directory.store.local_path
    settings = WorkerSettings(
        location=directory.store.location if local is None else str(local),
        driver=leases.driver,
        engine=plan.engine if phase.rank_group is None else "auto",
        group=phase.rank_group,
        device=execution.device,
        threads=execution.threads,
        permissions=Permissions(pickle=execution.allow_pickle, remote_code=execution.trust_remote_code),
        instruments=plan.spec.instruments,
        plugins=plugins.used_by(plan.spec.models, plan.spec.instruments),
    )
    if cluster.workers_share_cache:
        # Once here rather than by every worker at the same time: dequantising a GGUF file takes long.
        for model in plan.spec.models:
            with activity(Activity.LOADING, f"preparing {model}"):
                resolve(
                    model, allow_pickle=execution.allow_pickle, trust_remote_code=execution.trust_remote_code
                )
    return cluster.executor(settings, workers, useful=phase.max_concurrent_tasks)
