"""Runs as a data set that others can open, cite and check: `archive_pack` and `archive_verify`.

| file | what it holds |
|---|---|
| `pack` | the story of packing; read it first |
| `sources`, `merge` | the runs' rows as streams; copies of trials compared, conflicts named |
| `database`, `ranges`, `tables`, `parquet` | sorts within bounded memory; Parquet of which a look-up reads little |
| `facts`, `provenance` | what the tables hold, and where it comes from |
| `croissant`, `crate`, `card`, `figures`, `about` | the documents for machines and for people |
| `checksums`, `layout`, `staging` | sha256 of every file; which names there are; whole or not at all |
| `verify` | the story of checking |
| `files`, `invariants`, `rows`, `identity`, `manifests` | its passes |
| `defect` | what `verify` found: the place, and what is wrong |
"""

from phantom_dist.archive.pack import archive_pack
from phantom_dist.archive.verify import archive_verify

__all__ = ["archive_pack", "archive_verify"]
