"""What a public function returns: a frozen record that shows itself, and has the JSON of its command."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

WIDTH = 180
"""Columns of a table in text; lines of prose are not wrapped."""


class Result(ABC):
    """The base of the records that public functions return.

    A record shows the same in three places: `str(record)` is what its command prints, a terminal with rich and a
    notebook show it too. `to_json()` is the object that the command prints with `--json`.
    """

    __slots__ = ()

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The JSON object of the command; numbers that are not finite stay as they are."""

    @abstractmethod
    def parts(self) -> Iterable[str | Table]:
        """What people read, from top to bottom: lines of text and tables."""

    def __str__(self) -> str:
        return "\n".join(part if isinstance(part, str) else plain(part) for part in self.parts()).rstrip()

    def __rich__(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        return Group(*(Text(part) if isinstance(part, str) else part for part in self.parts()))

    def _repr_html_(self) -> str:
        from rich.console import Console

        console = Console(record=True, width=WIDTH, file=io.StringIO(), force_jupyter=False, highlight=False)
        console.print(self)
        return console.export_html(inline_styles=True, code_format="<pre>{code}</pre>")


def table(title: str, left: Iterable[str], right: Iterable[str], last: Iterable[str] = ()) -> Table:
    """An empty table without lines: columns aligned left, then right, then left again."""
    from rich.table import Table

    made = Table(title=title, box=None, title_justify="left")
    for column in left:
        made.add_column(column)
    for column in right:
        made.add_column(column, justify="right")
    for column in last:
        made.add_column(column)
    return made


def plain(part: Table) -> str:
    """A table as lines of text without spaces at their ends."""
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=WIDTH).print(part)
    return "\n".join(line.rstrip() for line in out.getvalue().removesuffix("\n").split("\n"))


def duration(seconds: float) -> str:
    """Seconds as people say them: 42 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def short_duration(seconds: float) -> str:
    """As `duration`, with tenths below ten seconds."""
    return f"{seconds:.1f} s" if seconds < 9.95 else duration(seconds)
