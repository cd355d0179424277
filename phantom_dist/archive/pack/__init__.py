"""Writes an archive from one or several runs.

| file | contents |
|---|---|
| `pipeline` | all steps in order; read it first |
| `sources` | the runs' rows as streams |
| `merge` | which copy of a trial is kept where several runs have it |
| `conflicts` | copies whose results differ by more than the engines' tolerance |
| `tables`, `ranges` | the rows sorted within bounded memory |
| `parquet` | sorted rows as Parquet files in which a look-up reads little |
| `staging` | the output folder, which appears whole or not at all |
"""

from phantom_dist.archive.pack.pipeline import PackResult, archive_pack

__all__ = ["PackResult", "archive_pack"]
