"""Encode records as rows of the stored tables, and decode them; only this package knows which field is which column.

| file | columns |
|---|---|
| `problems` | the columns that identify a problem; in every table |
| `probes` | `probes/`: the result of a probe, measured or refused |
| `trials` | `trials/`: one row per trial, with the summary of its trace |
| `traces` | `traces/`: one row per step of a trial |
| `execution` | metadata of a batch's execution: host, time, versions |
| `store` | write batches and probes to a run directory |
| `row` | the type of a row |
"""

from phantom_dist.records.execution import ExecutionMetadata, execution_metadata
from phantom_dist.records.probes import probe_result_from_row, probe_row
from phantom_dist.records.problems import problem_row
from phantom_dist.records.row import Row
from phantom_dist.records.store import store_batch, store_probes
from phantom_dist.records.traces import trace_rows
from phantom_dist.records.trials import TraceSummary, trace_summary, trial_row

__all__ = [
    "ExecutionMetadata",
    "Row",
    "TraceSummary",
    "execution_metadata",
    "probe_result_from_row",
    "probe_row",
    "problem_row",
    "store_batch",
    "store_probes",
    "trace_rows",
    "trace_summary",
    "trial_row",
]
