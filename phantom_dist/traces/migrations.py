"""Old tables in today's form: what is stored keeps its form, and readers get this one.

To raise `SCHEMA_VERSION` from N to N + 1: a function here that takes a table of version N as it was stored and gives
one of N + 1, its line under N in `STEPS`, and a run directory of version N among the tests' (`tests/stored_runs`).
A column that is only added needs none of this: it is null in older files.
"""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from phantom_dist.core.quantities import SCHEMA_VERSION

STEPS: dict[int, dict[str, Callable[[pa.Table], pa.Table]]] = {}
"""By the version that a step starts from: the steps of the tables that change, by `trials`, `probes` or `traces`."""


def migrated(stored: pa.Table, version: int, schema: pa.Schema) -> pa.Table:
    """A table of an older version with the schema of today; what that version didn't know is null.

    Raises:
        pyarrow.ArrowInvalid: a step did not give what the next version has.
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
