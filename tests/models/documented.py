"""The tables of refused models in phantom_dist/models/README.md: {what: part of the message}."""

from __future__ import annotations

from importlib import resources

_HEAD = "| what | message |\n|---|---|\n"
_TEXT = resources.files("phantom_dist.models").joinpath("README.md").read_text(encoding="utf-8")


def _table(after: str) -> dict[str, str]:
    rows = after.split("\n\n")[0].splitlines()
    cells = [row.strip("| ").split(" | ") for row in rows]
    return {row[0]: row[1] for row in cells}


FOLDERS, ADAPTERS = (_table(part) for part in _TEXT.split(_HEAD)[1:])
