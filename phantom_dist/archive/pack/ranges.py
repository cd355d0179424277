"""Trace rows cut into ranges of `trial_id`, so that no sort has to hold more than one range.

An external sort still needs memory for every part that it has spilled, so its memory grows with the rows: 256 MB do not
suffice for 33 million. Ids are hashes, hence uniformly distributed: ranges of equal width have about equally many rows.
The sorted ranges, one after another, are the sorted rows. Each row is written once and read once, as in a sort that
spills.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

RANGE_ROWS = 1 << 18
"""Rows per sort: some 60 MB of traces."""

MAX_RANGES = 512
"""Each range is an open file while rows are cut. Beyond RANGE_ROWS * MAX_RANGES rows, ranges grow and sorts spill."""

BATCH_ROWS = 1 << 16

_LZ4 = pa.ipc.IpcWriteOptions(compression="lz4")


def cut(
    connection: duckdb.DuckDBPyConnection, relation: str, rows: int, folder: Path
) -> Iterator[pa.RecordBatchReader]:
    """The rows of a relation: one reader for each range of `trial_id`, in ascending order; rows inside are unsorted.

    Args:
        connection: the database.
        relation: SQL, with the column `trial_id`. An id that isn't hexadecimal goes into the first range.
        rows: the approximate number of rows.
        folder: for the ranges' files, each of which is deleted after it was read.
    """
    count = min(MAX_RANGES, 1 + rows // RANGE_ROWS)
    # the first 32 bits of the id, scaled to 0 … count - 1
    range_number = f"coalesce(try_cast('0x' || trial_id[:8] AS UBIGINT), 0) * {count} >> 32"
    reader = connection.sql(f"SELECT *, {range_number} AS range FROM {relation}").to_arrow_reader(BATCH_ROWS)
    columns = reader.schema.remove(reader.schema.get_field_index("range"))
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number}.arrow" for number in range(count)]
    with contextlib.ExitStack() as opened:
        writers = [
            opened.enter_context(pa.ipc.new_stream(str(file), columns, options=_LZ4)) for file in files
        ]
        for batch in reader:
            for number, part in _parts(batch, columns):
                writers[number].write_batch(part)
    for file in files:
        with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as rows_of_range:
            yield rows_of_range
        file.unlink()


def _parts(batch: pa.RecordBatch, columns: pa.Schema) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows of a batch, grouped by range; a group keeps the order of its rows."""
    numbers = batch.column("range").to_numpy()
    order = np.argsort(numbers, kind="stable")
    ordered = batch.select(columns.names).take(pa.array(order))
    present, starts = np.unique(numbers[order], return_index=True)
    for number, start, end in zip(present, starts, [*starts[1:], len(order)], strict=True):
        yield int(number), ordered.slice(start, end - start)
