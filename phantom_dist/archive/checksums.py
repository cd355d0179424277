"""`sha256sums.txt`: every file of an archive but itself, in the form that `sha256sum --check` takes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from phantom_dist.archive.layout import CHECKSUMS, everything

_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def sha256_of(path: Path) -> str:
    """The file's sha256, 64 hex digits; read piece by piece."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sums_of(archive: Path) -> dict[str, str]:
    """The sha256 of every file but the list itself, by its name, sorted."""
    return {name: sha256_of(archive / name) for name, _ in everything(archive) if name != CHECKSUMS}


def write_sums(archive: Path, sums: Mapping[str, str]) -> None:
    """Write the list."""
    text = "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items()))
    (archive / CHECKSUMS).write_text(text, encoding="utf-8", newline="\n")


def read_sums(archive: Path) -> tuple[dict[str, str], list[str]]:
    """The list: sha256 by name; and the lines that are none, or name a file twice.

    Raises:
        FileNotFoundError: there is no list.
    """
    sums: dict[str, str] = {}
    wrong = []
    text = (archive / CHECKSUMS).read_bytes().decode("utf-8", errors="replace")
    for line in (
        text.removesuffix("\n").split("\n") if text else ()
    ):  # other line ends of Unicode may be in a name
        found = _LINE.fullmatch(line)
        if found is None or found[2] in sums:
            wrong.append(line[:200])
        else:
            sums[found[2]] = found[1]
    return sums, wrong
