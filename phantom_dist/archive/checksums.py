"""`sha256sums.txt`: the checksum of every other file of an archive, in the format of `sha256sum --check`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from phantom_dist.archive.layout import CHECKSUMS, everything

_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def sha256_of(path: Path) -> str:
    """The file's sha256, 64 hex digits; the file is read in chunks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sums_of(archive: Path) -> dict[str, str]:
    """The sha256 of every file except `sha256sums.txt`, by name, sorted."""
    return {name: sha256_of(archive / name) for name, _ in everything(archive) if name != CHECKSUMS}


def write_sums(archive: Path, sums: Mapping[str, str]) -> None:
    """Write `sha256sums.txt`."""
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
    (archive / CHECKSUMS).write_text(text, encoding="utf-8", newline="\n")


def read_sums(archive: Path) -> tuple[dict[str, str], list[str]]:
    """Read `sha256sums.txt`.

    Returns:
        sha256 by name, and the lines that are malformed or repeat a name (at most 200 characters of each).

    Raises:
        FileNotFoundError: the file is missing.
    """
    sums: dict[str, str] = {}
    wrong = []
    text = (archive / CHECKSUMS).read_bytes().decode("utf-8", errors="replace")
    # Not `splitlines`: a file's name may contain one of Unicode's other line separators.
    for line in text.removesuffix("\n").split("\n") if text else ():
        match = _LINE.fullmatch(line)
        if match is None or match[2] in sums:
            wrong.append(line[:200])
        else:
            sums[match[2]] = match[1]
    return sums, wrong
