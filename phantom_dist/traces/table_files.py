"""The Parquet files of a table as one dataset: plug-in columns added, older schema versions migrated."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.dataset as ds

from phantom_dist.core.quantities import SCHEMA_VERSION
from phantom_dist.traces import migrations
from phantom_dist.traces.store import Store

_BY_MODEL = ds.HivePartitioning(pa.schema([("model", pa.string())]), segment_encoding="uri")


def dataset(store: Store, names: Sequence[str], table_schema: pa.Schema) -> ds.Dataset:
    """The files of these names; see `RunDirectory.dataset`.

    Raises:
        pyarrow.ArrowInvalid: a file is damaged, of another table, or of a newer schema version.
    """
    of_table = files(store, names, table_schema)
    old: dict[int, list[str]] = {}
    plugin_columns: dict[str, pa.Field] = {}
    for fragment in of_table.get_fragments():
        version = _checked_version(fragment, table_schema)
        plugin_columns |= {field.name: field for field in fragment.physical_schema if "." in field.name}
        if version < SCHEMA_VERSION:
            old.setdefault(version, []).append(fragment.path.removeprefix(f"{store.root}/"))
    for _, field in sorted(plugin_columns.items()):
        table_schema = table_schema.append(field)
    if not old:
        return of_table.replace_schema(table_schema) if plugin_columns else of_table
    current = sorted(set(names).difference(*old.values()))
    parts = [files(store, current, table_schema)] if current else []
    for version, of_version in sorted(old.items()):
        stored = files(store, of_version, None).to_table()
        parts.append(ds.dataset(migrations.migrated(stored, version, table_schema)))
    return ds.dataset(parts)


def files(store: Store, names: Sequence[str], table_schema: pa.Schema | None) -> ds.FileSystemDataset:
    """Files as one dataset; without a schema it has that of the first file."""
    return ds.dataset(
        [store.path(name) for name in names],
        filesystem=store.filesystem,
        schema=table_schema,
        format="parquet",
        partitioning=_BY_MODEL if names and names[0].startswith("traces/") else None,
        partition_base_dir=store.path("traces"),
    )


def _checked_version(fragment: ds.Fragment, table_schema: pa.Schema) -> int:
    """The schema version of a file; raises for a foreign file, which Arrow would silently cast or pad with nulls."""
    metadata, table = fragment.physical_schema.metadata or {}, table_schema.metadata[b"table"]
    if metadata.get(b"table") != table:
        raise pa.ArrowInvalid(f"{fragment.path} is not a file of the table {table.decode()}")
    version = int(metadata.get(b"schema_version", 0))
    if version > SCHEMA_VERSION:
        raise pa.ArrowInvalid(f"{fragment.path} was written by a newer phantom_dist; update to read it")
    return version
