"""Files of JSON lines to which a process appends that may die within a line."""

from __future__ import annotations

import os
from typing import BinaryIO


def line_break_if_truncated(file: BinaryIO) -> bytes:
    """The bytes to write before the next line: a line feed if the file ends within a line, else none."""
    if not file.seek(0, os.SEEK_END):
        return b""
    file.seek(-1, os.SEEK_END)
    return b"" if file.read(1) == b"\n" else b"\n"
