"""DuckDB, which sorts and joins tables that are larger than memory.

It works within a fixed memory limit and spills the rest into a folder. The memory that a sort needs still grows slowly
with its rows; `pack.ranges` therefore cuts traces into ranges before it sorts them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from phantom_dist.core.errors import StoreError

MEMORY = "256MB"
"""DuckDB's memory limit; the process needs about twice as much besides, whatever the number of rows."""

THREADS = 2


@contextmanager
def database(folder: Path, what: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a temporary database in a folder, which DuckDB also spills to.

    Extensions are neither installed nor loaded, so the files that DuckDB reads can't make it run code.

    Args:
        folder: created if it does not exist.
        what: the current action, with which an error message begins.

    Raises:
        StoreError: the disk is full, or a file can't be read.
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
        raise StoreError(f"{what}: {_one_line(error)}") from error


def _one_line(error: duckdb.Error) -> str:
    """DuckDB's first line; if the error is a `StoreError` of an Arrow stream that DuckDB read, that error's message.

    DuckDB appends the Python traceback of such an error, whose last line names the exception.
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    _, ours, message = lines[-1].partition(f"{StoreError.__module__}.{StoreError.__name__}: ")
    return message if ours else lines[0]
