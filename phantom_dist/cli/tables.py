"""Tables as plain text."""

from __future__ import annotations

import io

from rich.console import Console
from rich.table import Table


def plain(table: Table) -> str:
    """A table without colours or trailing spaces."""
    out = io.StringIO()
    Console(file=out, width=180).print(table)
    return "\n".join(line.rstrip() for line in out.getvalue().removesuffix("\n").split("\n"))
