"""The tables of an archive, sorted, from the kept copies of all runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from phantom_dist.archive.layout import PRIVATE, folder_of
from phantom_dist.archive.pack.merge import trace_rows
from phantom_dist.archive.pack.parquet import write_sorted
from phantom_dist.archive.pack.ranges import BATCH_ROWS, cut
from phantom_dist.archive.pack.sources import Source, models, stream
from phantom_dist.traces import schema

SORTED_BY = {
    "trials": ("model", "context", "method", "optimizer", "steps", "problem", "learning_rate", "trial_id"),
    "probes": ("model", "context", "method", "optimizer", "steps", "problem", "weights"),
    "traces": ("trial_id", "step"),
}
"""Sort keys. The trials of a problem are adjacent, in the order of their learning rates, as on a curve."""


def write_tables(
    connection: duckdb.DuckDBPyConnection,
    sources: Sequence[Source],
    archive: Path,
    work: Path,
    progress: Callable[[int], None],
) -> None:
    """Write trials, probes and traces. `merge.load` must have been called before.

    Args:
        connection: the database.
        sources: the runs.
        archive: the folder to write into.
        work: a folder for temporary files.
        progress: called with a number of trace rows after they were read, and again after they were written.
    """
    for table, view in (("trials", "kept_trial"), ("probes", "kept_probe")):
        write_sorted(archive, table, _sorted(connection, view, table), SORTED_BY[table])
    for model in models(sources):
        folder = folder_of("traces", model)
        traces = _sorted_traces(connection, sources, model, work, progress)
        write_sorted(archive, folder, traces, SORTED_BY["traces"])


def _sorted_traces(
    connection: duckdb.DuckDBPyConnection,
    sources: Sequence[Source],
    model: str,
    work: Path,
    progress: Callable[[int], None],
) -> Iterator[pa.RecordBatch]:
    connection.register("incoming", stream(sources, "traces", model=model, read=progress))
    kept = "(FROM incoming ANTI JOIN loser USING (trial_id, run, file))"
    for rows in cut(connection, kept, trace_rows(connection, model), work / "ranges"):
        connection.register("one_range", rows)
        for batch in _sorted(connection, "one_range", "traces"):
            yield batch
            progress(batch.num_rows)
        connection.unregister("one_range")
    connection.unregister("incoming")


def _sorted(connection: duckdb.DuckDBPyConnection, relation: str, table: str) -> Iterator[pa.RecordBatch]:
    names = schema.BY_TABLE[table].names
    columns = ", ".join(f"NULL::VARCHAR AS {n}" if n in PRIVATE else n for n in names)
    order = ", ".join(f"{name} NULLS FIRST" for name in SORTED_BY[table])
    # `sql` streams its result; `execute` would materialise all of it.
    yield from connection.sql(f"SELECT {columns} FROM {relation} ORDER BY {order}").to_arrow_reader(
        BATCH_ROWS
    )
