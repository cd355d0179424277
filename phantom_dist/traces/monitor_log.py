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
        with open(path, "a", encoding="utf-8") as file:
            file.write(text)
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
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{where}: can't read the monitor's record ({error})") from None
    start: Row | None = None
    rows: list[Row] = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            kind = row["row"]
        except (ValueError, TypeError, KeyError):
            if number == len(lines) and start is not None:
                break
            raise InputError(f"{where}, line {number}: no row of a monitor's record") from None
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


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
