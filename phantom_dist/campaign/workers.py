"""The workers of a run: an executor for each phase."""

from __future__ import annotations

import itertools

from phantom_dist.core import plugins
from phantom_dist.core.activity import Activity, activity, preparation
from phantom_dist.models import Permissions
from phantom_dist.models.description import is_ready
from phantom_dist.planning.plan import Phase, Plan
from phantom_dist.scheduling.cluster import Cluster
from phantom_dist.scheduling.executor import Executor, WorkerSettings
from phantom_dist.traces import RunDirectory
from phantom_dist.traces.leases import Leases


@preparation()
@activity(Activity.STARTING, "starting workers")
def start_workers(
    plan: Plan,
    phase: Phase,
    cluster: Cluster,
    directory: RunDirectory,
    leases: Leases,
    workers: int | None,
) -> Executor:
    """Start the workers of a phase.

    Args:
        plan: the run's plan.
        phase: the phase.
        cluster: the cluster on which they run.
        directory: the run directory.
        leases: the driver's leases.
        workers: how many; None for as many as fit.

    Raises:
        InputError: not even one worker fits.
    """
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
        # Prepare models once here instead of in every worker at the same time: dequantising a GGUF file takes long.
        for model in itertools.filterfalse(is_ready, plan.spec.models):
            from phantom_dist.models.registry import resolve  # takes seconds

            with activity(Activity.LOADING, f"preparing {model}"):
                resolve(
                    model, allow_pickle=execution.allow_pickle, trust_remote_code=execution.trust_remote_code
                )
    return cluster.executor(settings, workers, useful=phase.max_concurrent_tasks)
