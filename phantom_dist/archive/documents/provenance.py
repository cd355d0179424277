"""`provenance.json`: the runs and the software that an archive was made from, and a summary of its tables."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from phantom_dist.archive.layout import VERSION
from phantom_dist.archive.summary import Summary
from phantom_dist.core.quantities import SCHEMA_VERSION

PACKAGE = Path(__file__).parents[2]


def provenance(
    summary: Summary, runs: Sequence[Mapping[str, Any]], merged: Mapping[str, int], laws: Sequence[str]
) -> dict[str, Any]:
    """The contents of the file. It names no host and no time of packing: the same runs give the same archive anywhere.

    Args:
        summary: what the tables contain.
        runs: `sweep` (its file in the archive) and `trials` (their number before merging) of each run.
        merged: the number of copies of trials that were left out, and how many of them were failures.
        laws: names of the laws' files.
    """
    return {
        "archive_version": VERSION,
        "schema_version": SCHEMA_VERSION,
        "packed_by": {
            "phantom_dist": _version("phantom-dist"),
            "revision": revision(),
            "duckdb": _version("duckdb"),
            "pyarrow": _version("pyarrow"),
        },
        "runs": sorted(map(dict, runs), key=lambda run: (run["sweep"], run["trials"])),
        "merged": dict(merged),
        "laws": list(laws),
        "data": summary.to_json(),
    }


def revision(package: Path = PACKAGE) -> str | None:
    """The commit of this code, with the suffix `-dirty` if files differ from it; None outside its repository."""
    # A virtual environment may be inside another repository, which doesn't track this package's files.
    if _git(package, "ls-files", "--error-unmatch", "archive/documents/provenance.py") is None:
        return None
    return _git(package, "describe", "--always", "--dirty", "--abbrev=40", "--match=")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, check=True, capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
