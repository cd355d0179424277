"""The tables of an archive, sorted, from all copies of all runs; and a DuckDB view of each table of an archive."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from phantom_dist.archive.database import literal
from phantom_dist.archive.layout import TABLES, belongs, everything, folder_of
from phantom_dist.archive.merge import trace_rows
from phantom_dist.archive.parquet import write_sorted
from phantom_dist.archive.ranges import BATCH_ROWS, cut
from phantom_dist.archive.sources import Source, models, stream
from phantom_dist.traces import schema

SORTED_BY = {
    "trials": ("model", "context", "method", "optimizer", "steps", "problem", "learning_rate", "trial_id"),
    "probes": ("model", "context", "method", "optimizer", "steps", "problem", "weights"),
    "traces": ("trial_id", "step"),
}
"""Trials of a problem stand together and in the order of their learning rates, as one reads a curve."""

PRIVATE = ("host",)
"""Columns that an archive keeps for the schema's sake and leaves empty: names of hosts are nobody's business."""


def write_tables(
    connection: duckdb.DuckDBPyConnection,
    sources: Sequence[Source],
    archive: Path,
    work: Path,
    progress: Callable[[int], None],
) -> None:
    """Write trials, probes and traces; `merge.load` has been called.

    Args:
        connection: the database.
        sources: the runs.
        archive: the folder to write into.
        work: a folder for what is needed on the way.
        progress: told how many more trace rows were read, and again how many were written.
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
    # `sql` streams its result; `execute` would hold all of it.
    yield from connection.sql(f"SELECT {columns} FROM {relation} ORDER BY {order}").to_arrow_reader(
        BATCH_ROWS
    )


def attach(connection: duckdb.DuckDBPyConnection, archive: Path) -> None:
    """Make a view of each table: `trials`, `probes`, `traces`; the latter with the column `model`.

    Files of a folder are read in the order of their names, so rows come as they were written. Links are not followed.
    """
    names = [
        name for name, entry in everything(archive) if entry.is_file(follow_symlinks=False) and belongs(name)
    ]
    for table in TABLES:
        files = [
            str(archive / name)
            for name in names
            if name.startswith(f"{table}/") and name.endswith(".parquet")
        ]
        if files:
            listed = ", ".join(literal(glob.escape(file)) for file in files)
            hive = "hive_partitioning = true, hive_types = {'model': VARCHAR}"
            source = f"read_parquet([{listed}], {hive if table == 'traces' else 'hive_partitioning = false'})"
        else:
            source = f"no_{table}"
            empty = schema.BY_TABLE[table].empty_table()
            connection.register(
                source,
                empty.append_column("model", pa.array([], pa.string())) if table == "traces" else empty,
            )
        columns = ", ".join([*schema.BY_TABLE[table].names, *["model"] * (table == "traces")])
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {table} AS SELECT {columns} FROM {source}")
