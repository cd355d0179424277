"""One thing that is wrong with an archive."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Defect:
    """`where`: the file or the table; `what`: what is wrong with it."""

    where: str
    what: str
