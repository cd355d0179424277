"""Base class of the records that public functions return: text, rich and HTML output, and the command's JSON."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

WIDTH = 180
"""Width of tables in characters; other lines are not wrapped."""


class Result(ABC):
    """Base class of the frozen records that public functions return.

    `str(record)` is the text that the command prints; rich and notebooks show the same. `to_json()` is the object that
    the command prints with `--json`.
    """

    __slots__ = ()

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The JSON object of the command; NaN and Inf are left unchanged."""

    @abstractmethod
    def parts(self) -> Iterable[str | Table]:
        """The text output from top to bottom: lines and tables."""

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
    """An empty table without borders: left-aligned columns, then right-aligned ones, then left-aligned ones."""
    from rich.table import Table

    empty = Table(title=title, box=None, title_justify="left")
    for column in left:
        empty.add_column(column)
    for column in right:
        empty.add_column(column, justify="right")
    for column in last:
        empty.add_column(column)
    return empty


def plain(part: Table) -> str:
    """A table as text without trailing spaces."""
    from rich.console import Console

    out = io.StringIO()
    Console(file=out, width=WIDTH).print(part)
    return "\n".join(line.rstrip() for line in out.getvalue().removesuffix("\n").split("\n"))


def duration(seconds: float) -> str:
    """Seconds as text: 42 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def short_duration(seconds: float) -> str:
    """Like `duration`, with one decimal below ten seconds."""
    return f"{seconds:.1f} s" if seconds < 9.95 else duration(seconds)
