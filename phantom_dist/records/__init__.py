"""Records as rows of the stored tables, and back; the one place that knows which field is which column.

| file | columns |
|---|---|
| `problems` | which problem; in every table |
| `probes` | `probes/`: what a probe measured or refused |
| `trials` | `trials/`: what a trace amounts to |
| `traces` | `traces/`: a trial's steps |
| `execution` | where, when and with what a batch was made |
| `store` | batches and probes into a run directory |
| `row` | what a row is |
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
