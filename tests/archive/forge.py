"""What somebody can do to an archive: edit tables, and make every checksum and size say so."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from phantom_dist.archive.checksums import sums_of, write_sums

Row = dict[str, Any]


def table_file(archive: Path, table: str) -> Path:
    """The (only) file of a table."""
    (file,) = (archive / table).rglob("*.parquet")
    return file


def edit(archive: Path, table: str, change: Callable[[list[Row]], Sequence[Row]]) -> None:
    """Change a table's rows."""
    file = table_file(archive, table)
    before = pq.ParquetFile(file).read()
    pq.write_table(pa.Table.from_pylist(list(change(before.to_pylist())), before.schema), file)


def reseal(archive: Path) -> None:
    """Make checksums, Croissant file and crate agree with the files, as a forger would."""
    croissant = json.loads((archive / "croissant.json").read_text())
    for item in croissant["distribution"]:
        path = archive / item.get("contentUrl", "")
        if item["@type"] == "cr:FileObject" and path.is_file():
            item |= {"sha256": sums_of(path.parent)[path.name], "contentSize": f"{path.stat().st_size} B"}
    (archive / "croissant.json").write_text(json.dumps(croissant))
    crate = json.loads((archive / "ro-crate-metadata.json").read_text())
    sums = sums_of(archive)
    for item in crate["@graph"]:
        name = unquote(item["@id"])
        if item["@type"] == "File" and name in sums:
            item |= {"sha256": sums[name], "contentSize": str((archive / name).stat().st_size)}
    (archive / "ro-crate-metadata.json").write_text(json.dumps(crate))
    write_sums(archive, sums_of(archive))


def without_columns(archive: Path, table: str, names: Sequence[str]) -> None:
    """Leave columns of a table out, where it has them."""
    for file in (archive / table).rglob("*.parquet"):
        stored = pq.ParquetFile(file).read()
        kept = [name for name in stored.column_names if name not in names]
        pq.write_table(stored.select(kept), file)
