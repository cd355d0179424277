"""The main path: a sweep becomes critical rates, trials and traces in a run directory.

    plan -> probe every problem -> train the trials that the searches choose -> repeat, until every search is done

Workers store what they measure; the driver keeps only summaries. Every decision follows from what is stored, so the
same code starts a run and continues one that was interrupted at any moment.
"""

from __future__ import annotations

import logging

from phantom_dist.campaign.heartbeat import Observer
from phantom_dist.campaign.options import RunOptions
from phantom_dist.campaign.ownership import spelled_as_stored, take_over
from phantom_dist.campaign.planner import plan_run
from phantom_dist.campaign.restore import restored
from phantom_dist.campaign.run_driver import RunDriver
from phantom_dist.campaign.trackers import Trackers
from phantom_dist.campaign.workers import start_workers
from phantom_dist.core.activity import Activity, activity, preparation
from phantom_dist.data.of_sweep import with_data
from phantom_dist.scheduling.cluster import Cluster
from phantom_dist.spec import SweepSpec
from phantom_dist.traces import RunDirectory
from phantom_dist.traces.claim import claim
from phantom_dist.traces.event_log import EventLog

LOGGER = logging.getLogger(__name__)


def execute(
    sweep: SweepSpec,
    directory: RunDirectory,
    cluster: Cluster,
    options: RunOptions,
    log: EventLog,
    observer: Observer,
) -> None:
    """Run a sweep in a directory, or what is left of it.

    Args:
        sweep: as its file has it.
        directory: the run directory.
        cluster: where it runs.
        options: see `RunOptions`.
        log: gets the run's events.
        observer: called with a `Progress` about once a second.

    Raises:
        InputError: the input as a whole is wrong; nothing ran.
        StoreError: results can't be stored; those already stored are kept.
    """
    with preparation(), activity(Activity.PLANNING, "planning"):
        read = with_data(sweep)
        spec = spelled_as_stored(read.spec, directory)
        for note in read.notes:
            LOGGER.warning("%s", note)
        kinds = cluster.worker_kinds(spec.execution.device, spec.execution.threads)
        plan = plan_run(spec, options, directory, kinds)
        trackers = Trackers(spec.execution.report_to, spec.name, directory)
    with claim(directory) as leases:
        directory = directory.under(leases.own)
        take_over(directory, plan, read.data, retry_failed=options.retry == "failed")
        with log.kept_in(directory.store, leases.driver):
            state = restored(plan, directory)
            driver = RunDriver(state, directory, leases, options.budget, observer, trackers)
            driver.execute(
                lambda phase: start_workers(plan, phase, cluster, directory, leases, options.workers),
                largest_worker=max(kind.memory_bytes for kind in kinds),
            )
            directory.discard_halves()
            if (reason := directory.read_state().get("reason")) is not None:
                log.outcome = f"interrupted: {reason}"
