"""Write results to a run directory: whole batches, and probes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from phantom_dist.core.measurement import TrialResult, Untrained
from phantom_dist.core.probe_result import ProbeResult
from phantom_dist.core.quantities import Quantity
from phantom_dist.core.summaries import TrialSummary
from phantom_dist.records.execution import ExecutionMetadata
from phantom_dist.records.probes import probe_row
from phantom_dist.records.traces import trace_rows
from phantom_dist.records.trials import training_columns, trial_row
from phantom_dist.traces import RunDirectory


def store_probes(directory: RunDirectory, batch: str, probed: Sequence[ProbeResult]) -> None:
    """Store the probes of one task.

    Raises:
        StoreError: they can't be stored.
    """
    directory.write_probes(batch, [probe_row(result) for result in probed])


def store_batch(
    directory: RunDirectory,
    model: str,
    results: Sequence[TrialResult | Untrained],
    metadata: ExecutionMetadata,
    columns: Sequence[Quantity] = (),
) -> tuple[TrialSummary, ...]:
    """Store a batch atomically (traces, then trials) and return the summaries of its trials.

    Args:
        directory: the run directory; workers pass one that is bound to a lease.
        model: the model of the batch.
        results: the results of all its trials.
        metadata: the execution metadata, including the batch's name.
        columns: columns that plug-in instruments add to the traces.

    Raises:
        StoreError: the batch can't be stored; then no part of it is visible.
    """
    execution = dataclasses.asdict(metadata)
    trials = tuple(trial_row(result) | execution | training_columns(result) for result in results)
    traces = [row for r in results if isinstance(r, TrialResult) for row in trace_rows(r)]
    directory.write_batch(metadata.batch, trials, {model: traces} if traces else {}, columns)
    return tuple(map(TrialSummary.from_row, trials))
