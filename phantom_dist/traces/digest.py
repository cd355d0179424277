"""One number for all results of a run: equal wherever the same trials gave the same numbers."""

from __future__ import annotations

import hashlib

from phantom_dist.core.quantities import TRACE_COLUMNS, TRIAL_COLUMNS
from phantom_dist.traces.run_directory import RunDirectory


def results_digest(directory: RunDirectory) -> str:
    """sha256 over the result columns of trials and traces, rows sorted; 64 hex digits.

    What is no result (wall time, host, attempt, engine, device) and how rows are spread over files don't count.
    """
    sha = hashlib.sha256()
    tables = (
        (directory.trials(), TRIAL_COLUMNS, ["trial_id"]),
        (directory.traces(), TRACE_COLUMNS, ["trial_id", "step"]),
    )
    for table, columns, keys in tables:
        results = [q.name for q in columns if q.is_result]
        for row in table.select(results).sort_by([(key, "ascending") for key in keys]).to_pylist():
            sha.update(repr(tuple(row.values())).encode())
    return sha.hexdigest()
