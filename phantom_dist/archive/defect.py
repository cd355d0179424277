"""One thing that is wrong with an archive."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Defect:
    """Where something is wrong (a file or a table) and what."""

    where: str
    what: str
