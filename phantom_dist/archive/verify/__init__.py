"""Checks an archive.

| file | contents |
|---|---|
| `pipeline` | all checks in order; read it first |
| `files` | names, checksums and schemas of the files |
| `invariants`, `rows` | what must hold in every row, and the queries that check it |
| `identity` | trial ids, recomputed from the rows |
| `manifests` | the documents, compared with the files and the rows |
| `defect` | one thing that is wrong |
"""

from phantom_dist.archive.verify.pipeline import VerifyResult, archive_verify

__all__ = ["VerifyResult", "archive_verify"]
