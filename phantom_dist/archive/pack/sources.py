"""The rows of several run directories as streams; each row says which run and file it comes from."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from phantom_dist.core.errors import InputError
from phantom_dist.spec import SweepSpec, expand
from phantom_dist.spec.reference import is_text, spellings
from phantom_dist.traces import RunDirectory, directory_and_sweep, schema
from phantom_dist.traces.run_directory import model_of

PLACE = [pa.field("run", pa.int32()), pa.field("file", pa.string())]
"""Where a row comes from: the number of its run, and the name of the batch's file without its folder."""

Place = tuple[int, str]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A run directory that is packed.

    Attributes:
        location: the directory as the user gave it.
        spec: its sweep, with model references that no table reader takes for a number or a date.
        renamed: model references in the archive by those in the run; empty unless an older version wrote the run.
        problems: likewise keys of problems, which depend on the model reference.
    """

    location: str
    directory: RunDirectory
    spec: SweepSpec
    renamed: Mapping[str, str]
    problems: Mapping[str, str]

    def model_of(self, file: str) -> str:
        """The model of a file of traces, as the archive names it."""
        stored = model_of(file)
        return self.renamed.get(stored, stored)

    def rows(self, file: str) -> pa.Table:
        """A file's rows, with models and problems as the archive names them."""
        rows = self.directory.file(file)
        for column, names in (("model", self.renamed), ("problem", self.problems)):
            if names and column in rows.column_names:
                place = rows.column_names.index(column)
                values = [names.get(value, value) for value in rows[column].to_pylist()]
                rows = rows.set_column(place, rows.field(place), pa.array(values, pa.string()))
        return rows


def open_sources(directories: Sequence[str | os.PathLike[str]]) -> list[Source]:
    """Open the runs, in the order of `directories`.

    Raises:
        InputError: there is no directory, one is given twice, or one is no run directory.
    """
    if not directories:
        raise InputError("archive pack: give at least one run directory")
    sources: list[Source] = []
    for location in [os.fspath(directory) for directory in directories]:
        directory, spec = directory_and_sweep(location)
        if any(directory.store.root == other.directory.store.root for other in sources):
            raise InputError(f"archive pack: {location} is given twice")
        sources.append(_source(location, directory, spec))
    return sources


def _source(location: str, directory: RunDirectory, stored: SweepSpec) -> Source:
    renamed = {model: spellings(model)[0] for model in stored.models if not is_text(model)}
    spec = stored.model_copy(update={"models": tuple(renamed.get(m, m) for m in stored.models)})
    problems = zip(expand(stored), expand(spec), strict=True) if renamed else ()
    return Source(
        location=location,
        directory=directory,
        spec=spec,
        renamed=renamed,
        problems={before.key: after.key for before, after in problems},
    )


def models(sources: Sequence[Source]) -> list[str]:
    """The models that have traces, sorted."""
    return sorted({source.model_of(name) for source in sources for name in source.directory.files("traces")})


def stream(
    sources: Sequence[Source],
    table: str,
    *,
    model: str | None = None,
    only: Collection[Place] | None = None,
    read: Callable[[int], None] = lambda rows: None,
) -> pa.RecordBatchReader:
    """All rows of a table, file after file, each with its place.

    Columns of plug-in instruments are left out.

    Args:
        sources: the runs.
        table: `trials`, `probes` or `traces`.
        model: of traces, only this model's rows.
        only: only the files at these places.
        read: called after each file with the number of its rows.

    Raises (while the stream is read):
        StoreError: a file is damaged or foreign.
    """
    columns = schema.BY_TABLE[table]

    def batches() -> Iterator[pa.RecordBatch]:
        for number, source in enumerate(sources):
            for name in source.directory.files(table):
                place = (number, name.rsplit("/", 1)[-1])
                if (model is not None and source.model_of(name) != model) or (
                    only is not None and place not in only
                ):
                    continue
                rows = source.rows(name).select(columns.names)
                for field, value in zip(PLACE, place, strict=True):
                    rows = rows.append_column(field, pa.repeat(pa.scalar(value, field.type), rows.num_rows))
                yield from rows.to_batches()
                read(rows.num_rows)

    return pa.RecordBatchReader.from_batches(pa.schema([*columns, *PLACE], columns.metadata), batches())
