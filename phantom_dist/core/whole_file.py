"""Atomic writing of a local file: it appears whole or not at all, even if the process dies."""

from __future__ import annotations

import mmap
import os
import uuid
from pathlib import Path


def write_whole(path: Path, data: bytes | mmap.mmap, *, staging: Path | None = None) -> None:
    """Write a file under a hidden temporary name, flush it to the disk, and rename it over its final name.

    Args:
        path: the final path; an existing file is replaced.
        data: the whole content.
        staging: folder for the temporary file, on the same file system; None for the file's own folder.

    Raises:
        FileNotFoundError: one of the two folders doesn't exist.
        OSError: the disk is full, or the folder is not writable.
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
    # The rename is an entry of the folder; unless that is flushed too, a power cut may bring the old file back.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
