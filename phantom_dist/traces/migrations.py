"""Converts tables of older schema versions when they are read; stored files stay unchanged.

To raise `SCHEMA_VERSION` from N to N + 1, add a function that converts a stored table of version N to N + 1, list it
under N in `STEPS`, and add a run directory of version N to `tests/stored_runs`. A new column needs none of this: it is
null in older files.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from phantom_dist.core.quantities import SCHEMA_VERSION

STEPS: dict[int, dict[str, Callable[[pa.Table], pa.Table]]] = {}
"""For each old version: the conversion to the next one of each table that changes (`trials`, `probes`, `traces`)."""


def migrated(stored: pa.Table, version: int, schema: pa.Schema) -> pa.Table:
    """A stored table of an older version, converted to the current schema; columns that it lacks are null.

    Raises:
        pyarrow.ArrowInvalid: the result of a step doesn't fit the schema.
    """
    name = schema.metadata[b"table"].decode().removeprefix("phantom_dist.")
    for start in range(version, SCHEMA_VERSION):
        step = STEPS.get(start, {}).get(name)
        stored = stored if step is None else step(stored)
    columns = [
        stored[field.name].cast(field.type)
        if field.name in stored.column_names
        else pa.nulls(stored.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)
