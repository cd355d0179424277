"""Read and write law files, including the shipped one."""

from __future__ import annotations

import json
import os
from importlib import resources
from pathlib import Path

from phantom_dist.core.errors import InputError, StoreError
from phantom_dist.core.whole_file import write_whole
from phantom_dist.law.file_format import dumps, from_json
from phantom_dist.law.law import Law

SHIPPED = "shipped.json"


def read_law(path: str | os.PathLike[str] | None = None) -> Law:
    """Read a law file; None for the one that ships with the package.

    Raises:
        InputError: the file can't be read or is no law file.
    """
    if path is None:
        text, where = resources.files(__package__).joinpath(SHIPPED).read_text("utf-8"), "the shipped law"
    else:
        where = os.fspath(path)
        try:
            text = Path(path).read_text("utf-8")
        except OSError as error:
            raise InputError(f"{where}: can't read the law ({error.strerror})") from None
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InputError(f"{where}: no law file ({error})") from None
    return from_json(value, where)


def write_law(law: Law, path: str | os.PathLike[str]) -> None:
    """Write a law file atomically.

    Raises:
        StoreError: it can't be written.
    """
    final = Path(path)
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        write_whole(final, dumps(law).encode())
    except OSError as error:
        raise StoreError(f"{os.fspath(path)}: can't write the law: {error.strerror or error}") from error
