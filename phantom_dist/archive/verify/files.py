"""Checks the files of an archive: none missing, extra, changed or linked; every table's file has its schema."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from phantom_dist.archive.checksums import read_sums, sha256_of
from phantom_dist.archive.layout import CHECKSUMS, DOCUMENTS, belongs, everything
from phantom_dist.archive.verify.defect import Defect
from phantom_dist.core.quantities import SCHEMA_VERSION
from phantom_dist.traces import schema


def check_files(archive: Path, known: Mapping[str, str] | None = None) -> tuple[list[str], list[Defect]]:
    """Compare the files with `sha256sums.txt`.

    Args:
        archive: the archive's folder.
        known: sha256 by name of files that need not be read again.

    Returns:
        The names of the files that exist and are allowed, and what is wrong.
    """
    names: list[str] = []
    wrong: list[Defect] = []
    for name, entry in everything(archive):
        if not stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
            wrong.append(Defect(name, "is not a regular file (but a link, a device or a pipe)"))
        elif not belongs(name):
            wrong.append(Defect(name, "is foreign: no archive contains a file of that name"))
        else:
            names.append(name)
    wrong += [Defect(name, "is missing") for name in (*DOCUMENTS, CHECKSUMS) if name not in names]
    if CHECKSUMS not in names:
        return names, wrong
    sums, broken = read_sums(archive)
    wrong += [
        Defect(CHECKSUMS, f"has a line that is malformed or repeats a name: {line!r}") for line in broken
    ]
    for name, digest in sums.items():
        if not belongs(name):
            wrong.append(
                Defect(CHECKSUMS, f"names {name[:200]!r}, which is not a name of a file in an archive")
            )
        elif name not in names:
            wrong += [Defect(name, "is missing, but has a checksum")] * (name not in DOCUMENTS)
        elif (known[name] if known is not None and name in known else sha256_of(archive / name)) != digest:
            wrong.append(Defect(name, "was changed: its checksum differs"))
    wrong += [
        Defect(name, "is extra: it has no checksum") for name in names if name not in {*sums, CHECKSUMS}
    ]
    return names, wrong


def check_schemas(archive: Path, names: list[str]) -> Iterator[Defect]:
    """Every Parquet file must have its table's columns, in this schema version; columns of later date may lack."""
    for name in names:
        if not name.endswith(".parquet"):
            continue
        expected = schema.BY_TABLE[name.split("/", 1)[0]]
        try:
            stored = pq.read_schema(archive / name)
        except (pa.ArrowException, OSError) as error:
            yield Defect(name, f"can't be read as a Parquet file: {str(error)[:200]}")
            continue
        metadata = stored.metadata or {}
        if metadata.get(b"table") != expected.metadata[b"table"]:
            yield Defect(name, f"is not a file of the table {expected.metadata[b'table'].decode()}")
        elif metadata.get(b"schema_version") != str(SCHEMA_VERSION).encode():
            yield Defect(
                name,
                f"has schema version {metadata.get(b'schema_version', b'none').decode(errors='replace')}; "
                f"this phantom_dist reads {SCHEMA_VERSION}",
            )
        elif not stored.equals(schema.without_later(expected, stored.names)):
            differing = sorted(set(map(str, stored)) ^ set(map(str, expected))) or ["their order"]
            yield Defect(name, f"has columns that differ from its table's: {', '.join(differing)[:300]}")
