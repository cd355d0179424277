"""Runs as a data set that others can open, cite and check: `archive_pack` and `archive_verify`.

| file | contents |
|---|---|
| `pack/` | writes an archive |
| `verify/` | checks an archive |
| `documents/` | the files that describe an archive, for people and for programs |
| `layout` | the names of an archive's files |
| `checksums` | `sha256sums.txt` |
| `summary` | counts over the tables: written into `provenance.json`, recomputed by `verify` |
| `views` | a DuckDB view of each table |
| `database`, `sql` | DuckDB with bounded memory; SQL that several queries share |
"""

from phantom_dist.archive.pack import archive_pack
from phantom_dist.archive.verify import archive_verify

__all__ = ["archive_pack", "archive_verify"]
