"""Rows of traces cut into ranges of their trials' ids, so that no sort has to hold more than one range.

A sort outside memory still needs some of it for every part that it has spilled, so its memory grows with the rows: for
33 million, 256 MB do not suffice. Ids are hashes, hence uniform: ranges of equal width hold equally many rows. Range
after range is the order of all rows, and each row is written once and read once, as by a sort that spills.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

RANGE_ROWS = 1 << 18
"""Rows that are sorted at once: some 60 MB of traces."""

MOST_RANGES = 512
"""Each is an open file while rows are cut; beyond RANGE_ROWS * MOST_RANGES rows ranges grow, and their sorts spill."""

BATCH_ROWS = 1 << 16

_LZ4 = pa.ipc.IpcWriteOptions(compression="lz4")


def cut(
    connection: duckdb.DuckDBPyConnection, relation: str, rows: int, folder: Path
) -> Iterator[pa.RecordBatchReader]:
    """The rows of a relation, one reader for each range of `trial_id`, in order.

    Args:
        connection: the database.
        relation: SQL, with the column `trial_id`. An id that isn't hexadecimal counts to the first range.
        rows: how many rows there are, about.
        folder: a folder for the ranges' files, which are removed as they are read.
    """
    count = min(MOST_RANGES, 1 + rows // RANGE_ROWS)
    place = f"coalesce(try_cast('0x' || trial_id[:8] AS UBIGINT), 0) * {count} >> 32"
    reader = connection.sql(f"SELECT *, {place} AS range FROM {relation}").to_arrow_reader(BATCH_ROWS)
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
    """The rows of a batch by the range that they belong to."""
    numbers = batch.column("range").to_numpy()
    order = np.argsort(numbers, kind="stable")
    ordered = batch.select(columns.names).take(pa.array(order))
    present, starts = np.unique(numbers[order], return_index=True)
    for number, start, end in zip(present, starts, [*starts[1:], len(order)], strict=True):
        yield int(number), ordered.slice(start, end - start)
