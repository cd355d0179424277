"""A DuckDB view of each table of an archive."""

from __future__ import annotations

import glob
from pathlib import Path

import duckdb
import pyarrow as pa

from phantom_dist.archive.layout import TABLES, belongs, everything
from phantom_dist.archive.sql import literal
from phantom_dist.traces import schema


def attach(connection: duckdb.DuckDBPyConnection, archive: Path) -> None:
    """Create the views `trials`, `probes` and `traces`; `traces` also has the column `model`.

    Files of a folder are read in the order of their names, so rows come in the order in which they were written.
    Symbolic links are not followed.
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
