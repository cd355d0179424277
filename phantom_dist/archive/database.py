"""DuckDB as the engine of sorts and joins over tables that are larger than memory.

It sorts and joins outside memory, within a limit that it is given; what it can't hold it spills into a folder. Even
so a sort needs more memory the more there is to sort, so traces are cut into ranges before (`ranges`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from phantom_dist.core.errors import StoreError

MEMORY = "256MB"
"""What DuckDB may hold; the process needs about twice as much besides, whatever the number of rows."""

THREADS = 2


@contextmanager
def database(folder: Path, what: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database of its own in a folder, which it also spills to.

    Nothing is loaded or installed besides: what it reads is data.

    Raises:
        StoreError: the disk is full, or a file can't be read; `what` says what was being done.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": MEMORY,
        "threads": THREADS,
        "temp_directory": str(folder / "spill"),
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
    }
    try:
        with duckdb.connect(folder / "work.duckdb", config=settings) as connection:
            yield connection
    except duckdb.Error as error:
        raise StoreError(f"{what}: {_said(error)}") from error


def _said(error: duckdb.Error) -> str:
    """One line: DuckDB's first, or, of an error of ours in a stream that it read, what follows the traceback in it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    _, ours, message = lines[-1].partition(f"{StoreError.__module__}.{StoreError.__name__}: ")
    return message if ours else lines[0]


def literal(value: str) -> str:
    """Text as SQL writes it."""
    return "'" + value.replace("'", "''") + "'"
