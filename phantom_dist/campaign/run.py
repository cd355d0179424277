"""The main path: a sweep becomes critical rates, trials and traces in a run directory.

    plan -> probe every problem -> train the trials that the searches choose -> repeat, until every search is done

Workers store what they measure; the driver keeps only summaries. Every decision follows from what is stored, so the
same code starts a run and continues one that was interrupted at any moment.
"""

from __future__ import annotations

import logging
import os
from typing import Any, Unpack

from phantom_dist.campaign.heartbeat import Observer
from phantom_dist.campaign.interruption import interruption_explained
from phantom_dist.campaign.options import Options, RunOptions
from phantom_dist.campaign.ownership import spelled_as_stored, take_over
from phantom_dist.campaign.planner import plan_run
from phantom_dist.campaign.restore import restored
from phantom_dist.campaign.run_driver import RunDriver
from phantom_dist.campaign.status import RunStatus, status
from phantom_dist.campaign.trackers import Trackers
from phantom_dist.campaign.training_data import with_data
from phantom_dist.campaign.workers import open_cluster, start_workers
from phantom_dist.core.activity import Activity, activity, preparation
from phantom_dist.core.errors import InputError
from phantom_dist.spec import load
from phantom_dist.traces import RunDirectory, Store, directory_and_sweep
from phantom_dist.traces.claim import claim
from phantom_dist.traces.event_log import recording

LOGGER = logging.getLogger(__name__)


def run(
    sweep: Any,
    out: str | os.PathLike[str],
    *,
    observer: Observer = lambda progress: None,
    **options: Unpack[Options],
) -> RunStatus:
    """Run a sweep. On a directory of the same sweep it continues; a sweep with more values on its axes extends it.

    Args:
        sweep: a sweep file's path, a mapping in the same form, or a `SweepSpec`.
        out: the run directory, a local path or an object-store URI.
        observer: called with a `Progress` about once a second.
        options: see `RunOptions`; results don't depend on them.

    Returns:
        The same as `status(out)`.

    Raises:
        InputError: the input as a whole is wrong; nothing ran.
        StoreError: results can't be stored; those already stored are kept.
        Interrupted: the run was interrupted; the message says whether the directory can be resumed.
    """
    chosen = RunOptions(**options)
    directory = RunDirectory(Store(out))
    with recording() as log, interruption_explained(directory), open_cluster(chosen) as cluster:
        with preparation(), activity(Activity.PLANNING, "planning"):
            read = with_data(load(sweep))
            spec = spelled_as_stored(read.spec, directory)
            for note in read.notes:
                LOGGER.warning("%s", note)
            kinds = cluster.worker_kinds(spec.execution.device, spec.execution.threads)
            plan = plan_run(spec, chosen, directory, kinds)
            trackers = Trackers(spec.execution.report_to, spec.name, directory)
        with claim(directory) as leases:
            directory = directory.under(leases.own)
            take_over(directory, plan, read.data, retry_failed=chosen.retry == "failed")
            with log.kept_in(directory.store, leases.driver):
                state = restored(plan, directory)
                driver = RunDriver(state, directory, leases, chosen.budget, observer, trackers)
                driver.execute(
                    lambda phase: start_workers(plan, phase, cluster, directory, leases, chosen.workers),
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
    """Continue an interrupted run, with the options of `run`. Stored trials are not repeated.

    Raises:
        InputError: there is no run in the directory; otherwise like `run`.
    """
    return run(directory_and_sweep(out)[1], out, observer=observer, **options)


def cancel(out: str | os.PathLike[str]) -> RunStatus:
    """Stop a live run from another process. Its running batches are lost, and repeated when it is resumed.

    Returns:
        The run's status at the time of the call.

    Raises:
        InputError: there is no live run in the directory.
    """
    now = status(out)
    if now.state != "running":
        raise InputError(f"{out}: no run is live here (it is {now.state}), so there is nothing to cancel.")
    directory_and_sweep(out)[0].cancel()
    return now
