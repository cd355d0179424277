"""Results into a run directory: whole batches, and what was probed."""

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
    """Store what one task probed.

    Raises:
        StoreError: it can't be stored.
    """
    directory.write_probes(batch, [probe_row(result) for result in probed])


def store_batch(
    directory: RunDirectory,
    model: str,
    results: Sequence[TrialResult | Untrained],
    metadata: ExecutionMetadata,
    columns: Sequence[Quantity] = (),
) -> tuple[TrialSummary, ...]:
    """Store a batch whole: traces, then trials; what decisions read of each trial.

    Args:
        directory: the run's, under a lease where a worker stores.
        model: the one model of the batch.
        results: of all its trials.
        metadata: names the batch.
        columns: what other packages' instruments add to the traces.

    Raises:
        StoreError: nothing of the batch is visible then.
    """
    made = dataclasses.asdict(metadata)
    trials = tuple(trial_row(result) | made | training_columns(result) for result in results)
    traces = [row for r in results if isinstance(r, TrialResult) for row in trace_rows(r)]
    directory.write_batch(metadata.batch, trials, {model: traces} if traces else {}, columns)
    return tuple(map(TrialSummary.from_row, trials))
