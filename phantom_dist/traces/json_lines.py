"""Files of JSON lines that are appended to, and whose writer may die within a line."""

from __future__ import annotations

import os
from typing import BinaryIO


def after_a_cut(file: BinaryIO) -> bytes:
    """What to write before the next line: a line feed where the file ends within a line, else nothing."""
    if not file.seek(0, os.SEEK_END):
        return b""
    file.seek(-1, os.SEEK_END)
    return b"" if file.read(1) == b"\n" else b"\n"
