"""`provenance.json`: where the archive comes from, and what its tables hold."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from phantom_dist.archive.facts import Facts
from phantom_dist.archive.layout import VERSION
from phantom_dist.core.quantities import SCHEMA_VERSION

PACKAGE = Path(__file__).parents[1]


def provenance(
    facts: Facts, runs: Sequence[Mapping[str, Any]], merged: Mapping[str, int], laws: Sequence[str]
) -> dict[str, Any]:
    """The contents of the file. No time of packing and no host: the same runs make the same archive anywhere.

    Args:
        facts: what the tables hold.
        runs: `sweep` (its file in the archive) and `trials` (as found, before merging) of each run.
        merged: how many copies of trials were left out, and how many of these were failures.
        laws: the files of the laws.
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
        "data": facts,
    }


def revision(package: Path = PACKAGE) -> str | None:
    """The commit that this code is of, with `-dirty` where files were changed since; None outside its repository."""
    # A package in a virtual environment may lie inside somebody else's repository; its files are not tracked there.
    if _git(package, "ls-files", "--error-unmatch", "archive/provenance.py") is None:
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
