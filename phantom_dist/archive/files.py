"""The files of an archive: all there, none besides, none changed, none a link; every table's file of its schema."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from phantom_dist.archive.checksums import read_sums, sha256_of
from phantom_dist.archive.defect import Defect
from phantom_dist.archive.layout import CHECKSUMS, DOCUMENTS, belongs, everything
from phantom_dist.core.quantities import SCHEMA_VERSION
from phantom_dist.traces import schema


def check_files(archive: Path, known: Mapping[str, str] | None = None) -> tuple[list[str], list[Defect]]:
    """Hold the files against `sha256sums.txt`.

    Args:
        archive: the archive's folder.
        known: sha256 by name, where they were just computed.

    Returns:
        The names of the files that are there and belong there, and all that is wrong.
    """
    found: list[str] = []
    wrong: list[Defect] = []
    for name, entry in everything(archive):
        if not stat.S_ISREG(entry.stat(follow_symlinks=False).st_mode):
            wrong.append(Defect(name, "is no plain file (a link, a device or a pipe)"))
        elif not belongs(name):
            wrong.append(Defect(name, "is foreign: an archive holds no file of that name"))
        else:
            found.append(name)
    wrong += [Defect(name, "is missing") for name in (*DOCUMENTS, CHECKSUMS) if name not in found]
    if CHECKSUMS not in found:
        return found, wrong
    sums, broken = read_sums(archive)
    wrong += [
        Defect(CHECKSUMS, f"has a line that is no checksum of its own file: {line!r}") for line in broken
    ]
    for name, digest in sums.items():
        if not belongs(name):
            wrong.append(Defect(CHECKSUMS, f"names {name[:200]!r}, which is no name of a file in an archive"))
        elif name not in found:
            wrong += [Defect(name, "is missing, but has a checksum")] * (name not in DOCUMENTS)
        elif (known[name] if known is not None and name in known else sha256_of(archive / name)) != digest:
            wrong.append(Defect(name, "was changed: its checksum is another one"))
    wrong += [
        Defect(name, "is extra: it has no checksum") for name in found if name not in {*sums, CHECKSUMS}
    ]
    return found, wrong


def check_schemas(archive: Path, names: list[str]) -> Iterator[Defect]:
    """Every Parquet file has its table's columns, in this schema version."""
    for name in names:
        if not name.endswith(".parquet"):
            continue
        expected = schema.BY_TABLE[name.split("/", 1)[0]]
        try:
            found = pq.read_schema(archive / name)
        except (pa.ArrowException, OSError) as error:
            yield Defect(name, f"is no Parquet file that can be read: {str(error)[:200]}")
            continue
        written = found.metadata or {}
        if written.get(b"table") != expected.metadata[b"table"]:
            yield Defect(name, f"is no file of the table {expected.metadata[b'table'].decode()}")
        elif written.get(b"schema_version") != str(SCHEMA_VERSION).encode():
            yield Defect(
                name,
                f"is of schema version {written.get(b'schema_version', b'none').decode(errors='replace')}; "
                f"this phantom_dist reads {SCHEMA_VERSION}",
            )
        elif not found.equals(expected):
            differing = sorted(set(map(str, found)) ^ set(map(str, expected))) or ["their order"]
            yield Defect(name, f"has other columns than its table: {', '.join(differing)[:300]}")
