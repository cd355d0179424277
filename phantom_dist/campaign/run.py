"""`run`, `resume`, `cancel`: check the sweep, begin to start Ray beside the imports that take seconds, execute.

The main path is in `execution`.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Unpack

from phantom_dist.campaign.interruption import interruption_explained
from phantom_dist.campaign.options import Options, RunOptions
from phantom_dist.campaign.status import RunStatus, status
from phantom_dist.core.activity import Activity, activity
from phantom_dist.core.errors import InputError, StoreError
from phantom_dist.core.imports import importing
from phantom_dist.scheduling.cluster import open_cluster
from phantom_dist.spec import load
from phantom_dist.traces import RunDirectory, Store, directory_and_sweep
from phantom_dist.traces.event_log import recording

if TYPE_CHECKING:  # needs torch
    from phantom_dist.campaign.heartbeat import Observer


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
    chosen, spec = RunOptions(**options), load(sweep)
    directory = RunDirectory(Store(out))
    with (
        recording() as log,
        interruption_explained(directory),
        open_cluster(chosen.executor, chosen.address) as cluster,
    ):
        if not _is_complete(directory):
            useful = len(spec.models) * len(spec.contexts)  # more may be; these start later
            workers = useful if chosen.workers is None else min(useful, chosen.workers)
            cluster.prepare(spec.execution.device, spec.execution.threads, workers)
        with activity(Activity.STARTING, "loading libraries"), importing():
            from phantom_dist.campaign.execution import execute
        execute(spec, directory, cluster, chosen, log, observer)
    return status(out)


def _is_complete(directory: RunDirectory) -> bool:
    """Whether a run is complete there, so that probably nothing is left to do."""
    with suppress(StoreError):
        return bool(directory.read_state().get("state") == "complete")
    return False


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
