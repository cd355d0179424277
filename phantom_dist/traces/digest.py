"""One hash of all results of a run: equal for runs whose trials gave the same numbers."""

from __future__ import annotations

import hashlib

import pyarrow as pa

from phantom_dist.core.quantities import TRACE_COLUMNS, TRIAL_COLUMNS
from phantom_dist.traces.run_directory import RunDirectory


def results_digest(directory: RunDirectory) -> str:
    """sha256 over the result columns of trials and traces, with sorted rows; 64 hex digits.

    Columns that are no results (wall time, host, attempt, engine, device), and the distribution of rows over files,
    have no influence.
    """
    sha = hashlib.sha256()
    tables = (
        (directory.trials(), TRIAL_COLUMNS, ["trial_id"]),
        (directory.traces(), TRACE_COLUMNS, ["trial_id", "step"]),
    )
    for table, columns, keys in tables:
        results = [q.name for q in columns if q.is_result and not (q.is_later and _is_null(table, q.name))]
        for row in table.select(results).sort_by([(key, "ascending") for key in keys]).to_pylist():
            sha.update(repr(tuple(row.values())).encode())
    return sha.hexdigest()


def _is_null(table: pa.Table, name: str) -> bool:
    nulls: int = table[name].null_count
    return nulls == int(table.num_rows)
