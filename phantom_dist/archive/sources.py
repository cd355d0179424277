"""The rows of several run directories as streams, each row with the place that it comes from."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from phantom_dist.core.errors import InputError
from phantom_dist.spec import SweepSpec
from phantom_dist.traces import RunDirectory, directory_and_sweep, schema
from phantom_dist.traces.run_directory import model_of

PLACE = [pa.field("run", pa.int32()), pa.field("file", pa.string())]
"""Where a row comes from: the number of its run, and the batch's file there without folder."""

Place = tuple[int, str]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A run directory that is packed."""

    location: str
    directory: RunDirectory
    spec: SweepSpec


def open_sources(directories: Sequence[str | os.PathLike[str]]) -> list[Source]:
    """The runs that are packed, in the order in which they were named.

    Raises:
        InputError: none is named, one twice, or there is no run in one of them.
    """
    if not directories:
        raise InputError("archive pack: name at least one run directory")
    sources: list[Source] = []
    for location in [os.fspath(directory) for directory in directories]:
        directory, spec = directory_and_sweep(location)
        if any(directory.store.root == other.directory.store.root for other in sources):
            raise InputError(f"archive pack: {location} is named twice")
        sources.append(Source(location=location, directory=directory, spec=spec))
    return sources


def models(sources: Sequence[Source]) -> list[str]:
    """The models that have traces, sorted."""
    return sorted({model_of(name) for source in sources for name in source.directory.files("traces")})


def stream(
    sources: Sequence[Source],
    table: str,
    *,
    model: str | None = None,
    only: Collection[Place] | None = None,
    read: Callable[[int], None] = lambda rows: None,
) -> pa.RecordBatchReader:
    """All rows of a table, file after file, with their place.

    Args:
        sources: the runs.
        table: `trials`, `probes` or `traces`.
        model: of traces, only this model's.
        only: only files of these places.
        read: told how many rows were read.

    Raises (while it is read):
        StoreError: a file is damaged or foreign.
    """

    columns = schema.BY_TABLE[table]

    def batches() -> Iterator[pa.RecordBatch]:
        for number, source in enumerate(sources):
            for name in source.directory.files(table):
                place = (number, name.rsplit("/", 1)[-1])
                if (model is not None and model_of(name) != model) or (
                    only is not None and place not in only
                ):
                    continue
                # what other packages' instruments measured stays behind
                rows = source.directory.file(name).select(columns.names)
                for field, value in zip(PLACE, place, strict=True):
                    rows = rows.append_column(field, pa.repeat(pa.scalar(value, field.type), rows.num_rows))
                yield from rows.to_batches()
                read(rows.num_rows)

    return pa.RecordBatchReader.from_batches(pa.schema([*columns, *PLACE], columns.metadata), batches())
