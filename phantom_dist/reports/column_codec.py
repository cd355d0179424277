"""Encodes tables for the page by columns: numbers as base64 bytes, strings as indices into a list of distinct values.

`script/store.js` decodes them.

| kind | content |
|---|---|
| `u8`, `u16` | integers from 0; the largest value of the type encodes null |
| `f32` | other numbers, to seven digits; NaN encodes null and anything not finite |
| with `words` | indices into that list |
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Row = Mapping[str, Any]


def encode(rows: Sequence[Row], names: Sequence[str]) -> dict[str, Any]:
    """Encode these columns of the rows; the result also has the number of rows."""
    return {"length": len(rows), "columns": {name: _column([row[name] for row in rows]) for name in names}}


def _column(values: list[Any]) -> dict[str, Any]:
    if any(isinstance(value, str) for value in values):
        words = list(dict.fromkeys(value for value in values if value is not None))
        place: dict[Any, int | None] = {word: i for i, word in enumerate(words)} | {None: None}
        return _numbers([place[value] for value in values]) | {"words": words}
    return _numbers(values)


def _numbers(values: list[Any]) -> dict[str, Any]:
    known = [value for value in values if value is not None]
    whole = all(value == int(value) >= 0 for value in known if np.isfinite(value)) and all(
        map(np.isfinite, known)
    )
    largest = max(known, default=0)
    kind = "f32" if not whole or largest >= 0xFFFF else "u8" if largest < 0xFF else "u16"
    null = {"f32": np.nan, "u8": 0xFF, "u16": 0xFFFF}[kind]
    dtype = {"f32": "<f4", "u8": "u1", "u16": "<u2"}[kind]
    array = np.array([null if value is None else value for value in values], dtype=dtype)
    if kind == "f32":
        array[~np.isfinite(array)] = np.nan
    return {"kind": kind, "bytes": base64.b64encode(array.tobytes()).decode()}
