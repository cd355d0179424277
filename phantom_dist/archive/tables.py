"""The tables of an archive, sorted, from all copies of all runs; and a DuckDB view of each table of an archive."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from phantom_dist.archive.database import literal
from phantom_dist.archive.layout import TABLES, belongs, everything, folder_of
from phantom_dist.archive.parquet import write_sorted
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
    progress: Callable[[int], None],
) -> None:
    """Write trials, probes and traces; `merge.load` has been called.

    Args:
        connection: the database.
        sources: the runs.
        archive: the folder to write into.
        progress: told how many more trace rows were read, and again how many were written.
    """
    for table, view in (("trials", "kept_trial"), ("probes", "kept_probe")):
        _write(connection, view, archive, table)
    for model in models(sources):
        connection.register("incoming", stream(sources, "traces", model=model, read=progress))
        _write(
            connection,
            "(FROM incoming ANTI JOIN loser USING (trial_id, run, file))",
            archive,
            folder_of("traces", model),
            progress,
        )
        connection.unregister("incoming")


def _write(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    archive: Path,
    folder: str,
    progress: Callable[[int], None] = lambda rows: None,
) -> None:
    table = folder.split("/", 1)[0]
    names = schema.BY_TABLE[table].names
    columns = ", ".join(f"NULL::VARCHAR AS {n}" if n in PRIVATE else n for n in names)
    order = ", ".join(f"{name} NULLS FIRST" for name in SORTED_BY[table])
    # `sql` streams its result; `execute` would hold all of it.
    reader = connection.sql(f"SELECT {columns} FROM {relation} ORDER BY {order}").to_arrow_reader(1 << 16)

    def watched() -> Iterator[pa.RecordBatch]:
        for batch in reader:
            yield batch
            progress(batch.num_rows)

    write_sorted(archive, folder, watched(), SORTED_BY[table])


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
