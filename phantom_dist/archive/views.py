"""A DuckDB view of each table of an archive."""

from __future__ import annotations

import glob
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from phantom_dist.archive.layout import TABLES, belongs, everything
from phantom_dist.archive.sql import literal
from phantom_dist.traces import schema

_SQL = {
    pa.float64(): "DOUBLE",
    pa.int64(): "BIGINT",
    pa.string(): "VARCHAR",
    pa.bool_(): "BOOLEAN",
    pa.list_(pa.int32()): "INTEGER[]",
}
"""DuckDB's names of the types that columns of later date have."""


def attach(connection: duckdb.DuckDBPyConnection, archive: Path) -> None:
    """Create the views `trials`, `probes` and `traces`; `traces` also has the column `model`.

    Files of a folder are read in the order of their names, so rows come in the order in which they were written.
    Symbolic links are not followed. Columns that came after an archive was made are null.
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
            stored = pq.read_schema(files[0]).names  # `archive pack` writes all files of a table alike
        else:
            source, stored = f"no_{table}", schema.BY_TABLE[table].names
            empty = schema.BY_TABLE[table].empty_table()
            connection.register(
                source,
                empty.append_column("model", pa.array([], pa.string())) if table == "traces" else empty,
            )
        lacking = set(schema.later(table)).difference(stored)
        columns = ", ".join(
            [
                f"NULL::{_SQL[field.type]} AS {field.name}" if field.name in lacking else field.name
                for field in schema.BY_TABLE[table]
            ]
            + ["model"] * (table == "traces")
        )
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {table} AS SELECT {columns} FROM {source}")
