"""The monitor's record: JSON lines, one row each, appended as training goes on.

| row | when | holds |
|---|---|---|
| `start` | as a training begins, and as it is resumed | format, versions, settings, contexts, refusals, steps planned |
| `look` | each look, a row for each context | step, learning rate, cost so far, the quantities of `core.quantities` |
| `warning` | a silent failure is seen | kind, step, since which step, the numbers, the message |
| `end` | training ends | step, looks, cost |

A value that is not finite is null: JSON has no other word for it.
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
from phantom_dist.traces.json_lines import after_a_cut

FORMAT = 1

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class MonitorRecord:
    """A record as it was read: looks and warnings in the order of steps; `end` is None while training goes on."""

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
            # half a surrogate, as a tokenizer may decode a piece of a character, stays JSON's escape of itself
            file.write(after_a_cut(file) + text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise StoreError(
            f"{os.fspath(path)}: can't write the monitor's record: {error.strerror or error}"
        ) from error


def open_monitor_log(path: str | os.PathLike[str]) -> MonitorRecord:
    """Read a record: its last training. Steps that were taken again after a resumption count as they were taken last.

    A last line that was cut off, by a training that was killed, is left out.

    Raises:
        InputError: there is no such file, or it is no record; the message names the line.
    """
    where = os.fspath(path)
    try:
        lines = Path(path).read_bytes().split(b"\n")  # other line ends of Unicode are letters of a text
    except OSError as error:
        raise InputError(f"{where}: can't read the monitor's record ({error})") from None
    if not lines[-1]:
        lines.pop()
    start: Row | None = None
    rows: list[Row] = []
    for number, line in enumerate(lines, start=1):
        row = _row(line)
        if row is None:
            if start is not None and _cut_off(lines, number):
                continue
            raise InputError(f"{where}, line {number}: no row of a monitor's record")
        kind = row["row"]
        if kind == "start":
            if row.get("format", 0) > FORMAT:
                raise InputError(
                    f"{where}, line {number}: format {row['format']}; this version reads up to {FORMAT}"
                )
            if start is None or not row.get("resumed"):
                start, rows = row, []  # another training that is kept in the same place
            rows = [old for old in rows if old["row"] != "end" and old["step"] <= row["step"]]
        elif start is None:
            raise InputError(f"{where}, line {number}: a monitor's record begins with a row `start`")
        else:
            rows.append(row)
    if start is None:
        raise InputError(f"{where}: an empty file is no monitor's record")
    ends = [row for row in rows if row["row"] == "end"]
    return MonitorRecord(
        start=start,
        looks=[row for row in rows if row["row"] == "look"],
        warnings=[row for row in rows if row["row"] == "warning"],
        end=ends[-1] if ends else None,
    )


def _row(line: bytes) -> Row | None:
    """The row of one line; None where it is none."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    return row if isinstance(row, dict) and "row" in row else None


def _cut_off(lines: list[bytes], number: int) -> bool:
    """Whether a line may be what a killed training left: the last one, or the one before it was resumed."""
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
