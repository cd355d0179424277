"""The monitor's record of a training: a JSON-lines file to which rows are appended during training.

| row | written | contents |
|---|---|---|
| `start` | when a training starts or is resumed | format, versions, settings, contexts, refusals, planned steps |
| `look` | at each look, for each context | step, learning rate, cost so far, quantities of `core.quantities` |
| `warning` | when a silent failure is detected | kind, step, first step of the failure, numbers, message |
| `end` | when training ends | step, looks, cost |

Values that are not finite are written as null, because JSON has no NaN.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phantom_dist.core.errors import InputError, StoreError
from phantom_dist.traces.json_lines import line_break_if_truncated

FORMAT = 1

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class MonitorRecord:
    """The record of one training: looks and warnings in the order of steps; `end` is None while training runs."""

    start: Row
    looks: list[Row]
    warnings: list[Row]
    end: Row | None


def append(path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Append rows; a reader sees whole lines.

    Raises:
        StoreError: the file can't be written.
    """
    text = "".join(json.dumps(_finite(row), ensure_ascii=False) + "\n" for row in rows)
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with open(path, "ab+") as file:
            # A tokenizer may decode part of a character to half a surrogate; it is written as its JSON escape.
            file.write(line_break_if_truncated(file) + text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise StoreError(
            f"{os.fspath(path)}: can't write the monitor's record: {error.strerror or error}"
        ) from error


def open_monitor_log(path: str | os.PathLike[str]) -> MonitorRecord:
    """Read the last training of a record. If steps were repeated after a resumption, the last repetition counts.

    A line that a killed training left truncated is ignored.

    Raises:
        InputError: there is no such file, or it is not a record; the message names the line.
    """
    where = os.fspath(path)
    try:
        lines = (
            Path(path).read_bytes().split(b"\n")
        )  # not splitlines: a text may contain other line ends of Unicode
    except OSError as error:
        raise InputError(f"{where}: can't read the monitor's record ({error})") from None
    if not lines[-1]:
        lines.pop()
    start: Row | None = None
    rows: list[Row] = []
    for number, line in enumerate(lines, start=1):
        row = _row(line)
        if row is None:
            if start is not None and _may_be_truncated(lines, number):
                continue
            raise InputError(f"{where}, line {number}: not a row of a monitor's record")
        kind = row["row"]
        if kind == "start":
            if row.get("format", 0) > FORMAT:
                raise InputError(
                    f"{where}, line {number}: format {row['format']}; this version reads up to {FORMAT}"
                )
            if start is None or not row.get("resumed"):
                start, rows = row, []  # another training in the same file
            rows = [old for old in rows if old["row"] != "end" and old["step"] <= row["step"]]
        elif start is None:
            raise InputError(f"{where}, line {number}: a monitor's record begins with a row `start`")
        else:
            rows.append(row)
    if start is None:
        raise InputError(f"{where}: an empty file is not a monitor's record")
    ends = [row for row in rows if row["row"] == "end"]
    return MonitorRecord(
        start=start,
        looks=[row for row in rows if row["row"] == "look"],
        warnings=[row for row in rows if row["row"] == "warning"],
        end=ends[-1] if ends else None,
    )


def _row(line: bytes) -> Row | None:
    """The row of one line; None if the line is not a row."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and "row" in row else None


def _may_be_truncated(lines: list[bytes], number: int) -> bool:
    """Whether a killed training may have left this line truncated: it is the last one, or a row `start` follows."""
    if number == len(lines):
        return True
    following = _row(lines[number])
    return following is not None and following["row"] == "start"


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
