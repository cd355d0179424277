"""A local file that appears whole or not at all, whatever ends the process in between."""

from __future__ import annotations

import os
import uuid
from pathlib import Path


def write_whole(path: Path, data: bytes, *, staging: Path | None = None) -> None:
    """Write a file under a hidden temporary name, flush it to the disk, and rename it over its final name.

    Args:
        path: where it is to stand; a file of that name is replaced.
        data: all of it.
        staging: the folder in which it is written first, on the same file system; None for the file's own.

    Raises:
        FileNotFoundError: one of the two folders is gone.
        OSError: the disk is full, or the folder can't be written.
    """
    temporary = (staging or path.parent) / f".{path.name}.{uuid.uuid4().hex}.tmp"
    try:
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    # The rename itself lies in the folder: without this a power cut may bring the old file back.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
