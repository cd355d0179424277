"""Arrow schemas of the tables, made from the declarations of quantities; metadata has units and descriptions."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from phantom_dist.core.quantities import (
    PLAN_COLUMNS,
    PROBE_COLUMNS,
    SCHEMA_VERSION,
    TRACE_COLUMNS,
    TRIAL_COLUMNS,
    ColumnType,
    Quantity,
)

_ARROW: dict[ColumnType, pa.DataType] = {
    "float64": pa.float64(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "string": pa.string(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "list<int32>": pa.list_(pa.int32()),
    "list<float64>": pa.list_(pa.float64()),
}


def schema_of(table: str, columns: Iterable[Quantity]) -> pa.Schema:
    """The schema of one table; a field's metadata has unit, symbol, description, range, and whether it is a result."""
    fields = [pa.field(q.name, _ARROW[q.type], metadata=_describe(q)) for q in columns]
    return pa.schema(
        fields, metadata={"schema_version": str(SCHEMA_VERSION), "table": f"phantom_dist.{table}"}
    )


def later(table: str) -> list[str]:
    """The columns of a table that older archives lack."""
    return [q.name for q in _COLUMNS[table] if q.is_later]


def without_later(schema: pa.Schema, stored: Iterable[str]) -> pa.Schema:
    """A table's schema without the columns of later date that aren't `stored`."""
    lacking = set(later(schema.metadata[b"table"].decode().removeprefix("phantom_dist."))).difference(stored)
    return pa.schema([field for field in schema if field.name not in lacking], metadata=schema.metadata)


def with_columns(schema: pa.Schema, columns: Iterable[Quantity]) -> pa.Schema:
    """The schema with further columns appended."""
    for q in columns:
        schema = schema.append(pa.field(q.name, _ARROW[q.type], metadata=_describe(q)))
    return schema


def _describe(quantity: Quantity) -> dict[str, str]:
    return {
        "unit": quantity.unit,
        "symbol": quantity.symbol,
        "description": quantity.description,
        "range": f"[{quantity.low:g}, {quantity.high:g}]",
        "is_result": str(quantity.is_result).lower(),
    }


TRIALS = schema_of("trials", TRIAL_COLUMNS)
TRACES = schema_of("traces", TRACE_COLUMNS)
PROBES = schema_of("probes", PROBE_COLUMNS)
PLAN = schema_of("plan", PLAN_COLUMNS)

_COLUMNS = {"trials": TRIAL_COLUMNS, "traces": TRACE_COLUMNS, "probes": PROBE_COLUMNS}

BY_TABLE = {"trials": TRIALS, "traces": TRACES, "probes": PROBES}
"""The tables that consist of many files, by their folder."""


def to_parquet(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> bytes:
    """The rows as a Parquet file of this schema; a missing key becomes null, NaN stays NaN.

    Raises:
        ValueError: a row has a key that is not a column.
    """
    unknown = {key for row in rows for key in row} - set(schema.names)
    if unknown:
        raise ValueError(f"no such column: {', '.join(sorted(unknown))}")
    columns = [pa.array([row.get(f.name) for row in rows], type=f.type, from_pandas=False) for f in schema]
    sink = io.BytesIO()
    # Not zstd: files of a batch's size get hardly smaller, and its set-up per column takes longer than all the rest.
    pq.write_table(pa.table(columns, schema=schema), sink, compression="snappy")
    return sink.getvalue()
