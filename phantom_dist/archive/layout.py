"""The names of an archive's files, and which names are allowed in one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from phantom_dist.traces.run_directory import trace_folder

Observer = Callable[[str, int, int], None]
"""Progress callback: called with the current action, the amount done and the total."""

VERSION = 1
"""Version of the layout; the tables' schema has its own (`core.quantities.SCHEMA_VERSION`)."""

PROVENANCE, CHECKSUMS, CROISSANT, CRATE = (
    "provenance.json",
    "sha256sums.txt",
    "croissant.json",
    "ro-crate-metadata.json",
)
CARD, CITATION, LICENCE = "README.md", "CITATION.cff", "LICENSE"

DOCUMENTS = (PROVENANCE, CROISSANT, CRATE, CARD, CITATION, LICENCE)
"""Files that every archive has beside its tables and its checksums."""

TABLES = ("trials", "probes", "traces")

PRIVATE = ("host",)
"""Columns that stay in the schema but are null in an archive, so that no host name is published."""

_ALLOWED = re.compile(
    "|".join(
        (
            *map(re.escape, (*DOCUMENTS, CHECKSUMS)),
            r"(trials|probes)/\d{4}\.parquet",
            r"traces/model=[A-Za-z0-9_.~%-]+/\d{4}\.parquet",
            r"sweeps/[A-Za-z0-9_.-]+\.yaml",
            r"laws/[A-Za-z0-9_.-]+\.json",
            r"figures/[a-z-]+\.png",
        )
    )
)

MEDIA_TYPES = {
    ".parquet": "application/x-parquet",
    ".json": "application/json",
    ".yaml": "application/yaml",
    ".png": "image/png",
    ".md": "text/markdown",
    ".cff": "application/yaml",
    ".txt": "text/plain",
    "": "text/plain",
}


def belongs(name: str) -> bool:
    """Whether an archive may contain a file of that name, relative to its folder. No allowed name leads out of it."""
    return _ALLOWED.fullmatch(name) is not None and ".." not in name.split("/")


def part(folder: str, number: int) -> str:
    """The name of a table's file number `number`; files are read in the order of their names."""
    return f"{folder}/{number:04d}.parquet"


def folder_of(table: str, model: str | None = None) -> str:
    """The folder of a table's files; traces have one for each model."""
    return table if model is None else trace_folder(model)


def everything(archive: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Everything below a folder except folders, with its relative name, sorted; symbolic links are not followed."""
    entries = sorted(os.scandir(archive), key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            for name, inner in everything(Path(entry.path)):
                yield f"{entry.name}/{name}", inner
        else:
            yield entry.name, entry
