"""Sorted rows as Parquet files in which a look-up reads little.

Rows are sorted, so the minima and maxima of row groups and pages (page index) locate a model or a trial. Where the sort
order is another one, a bloom filter on `trial_id` does. Floats are stored byte by byte (BYTE_STREAM_SPLIT), which zstd
compresses better.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from phantom_dist.archive.layout import part
from phantom_dist.traces import schema

GROUP_ROWS = {"trials": 16_384, "probes": 16_384, "traces": 65_536}
"""Rows per row group: the least that a reader without page index has to read."""

FILE_ROWS = 1 << 22
"""Rows per file: some 300 MB of traces."""


def write_sorted(
    archive: Path, folder: str, batches: Iterable[pa.RecordBatch], sorted_by: Sequence[str]
) -> int:
    """Write sorted rows into the files of a folder of an archive; without rows, no file is written.

    Args:
        archive: the archive's folder.
        folder: `trials`, `probes`, or `traces/model=…`.
        batches: the rows, with the table's columns.
        sorted_by: the columns by which the rows are sorted.

    Returns:
        The number of rows.
    """
    table = folder.split("/", 1)[0]
    columns = schema.BY_TABLE[table]
    rows, writer = 0, None
    try:
        for group in _groups(batches, columns, GROUP_ROWS[table]):
            if rows % FILE_ROWS == 0:
                if writer is not None:
                    writer.close()
                writer = _open(archive / part(folder, rows // FILE_ROWS), table, columns, sorted_by)
            assert writer is not None
            writer.write_table(group, row_group_size=GROUP_ROWS[table])
            rows += group.num_rows
    finally:
        if writer is not None:
            writer.close()
    return rows


def _groups(batches: Iterable[pa.RecordBatch], columns: pa.Schema, size: int) -> Iterator[pa.Table]:
    """The rows in row groups of exactly `size` rows, the last excepted, whatever the sizes of the batches."""
    pending: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        rest = batch.cast(columns)
        while count + rest.num_rows >= size:
            yield pa.Table.from_batches([*pending, rest.slice(0, size - count)], columns)
            pending, rest, count = [], rest.slice(size - count), 0
        if rest.num_rows:
            pending, count = [*pending, rest], count + rest.num_rows
    if pending:
        yield pa.Table.from_batches(pending, columns)


def _open(path: Path, table: str, columns: pa.Schema, sorted_by: Sequence[str]) -> pq.ParquetWriter:
    path.parent.mkdir(parents=True, exist_ok=True)
    floats = [field.name for field in columns if pa.types.is_floating(field.type)]
    lists = [f"{field.name}.list.element" for field in columns if pa.types.is_list(field.type)]
    words = [field.name for field in columns if field.name not in floats and not pa.types.is_list(field.type)]
    words = [name for name in words if not pa.types.is_boolean(columns.field(name).type)]
    return pq.ParquetWriter(
        path,
        columns,
        compression="zstd",
        compression_level=6,
        use_dictionary=words + lists,
        use_byte_stream_split=floats,
        write_page_index=True,
        write_page_checksum=True,
        sorting_columns=[pq.SortingColumn(columns.names.index(name)) for name in sorted_by],
        bloom_filter_options={"trial_id": {"ndv": GROUP_ROWS[table], "fpp": 0.01}}
        if "trial_id" in columns.names
        else None,
    )
