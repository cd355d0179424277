"""The files that describe an archive; `pack` writes them, `verify` checks them.

| file | writes |
|---|---|
| `card`, `figures` | `README.md`, the data-set card, and its figures |
| `croissant` | `croissant.json`: files, columns and types for data-set tools |
| `crate` | `ro-crate-metadata.json`: which runs made which files |
| `citation` | `CITATION.cff` and `LICENSE`; title, authors and licence for the other documents |
| `provenance` | `provenance.json`: which runs and versions the archive was made from |
"""
