"""Reads a page's tables as `phantom_dist/reports/script/store.js` does."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import numpy as np


def data_of(page: str) -> dict[str, Any]:
    """The page's JSON; NaN and Infinity, which browsers refuse, are refused here too."""
    found = re.search(r'<script type="application/json" id="page-data">(.*?)</script>', page, re.DOTALL)
    assert found is not None

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    data: dict[str, Any] = json.loads(found[1], parse_constant=refuse)
    return data


def rows_of(data: dict[str, Any], name: str) -> list[dict[str, Any]]:
    table = data["tables"][name]
    columns = {column: _values(packed) for column, packed in table["columns"].items()}
    assert {len(values) for values in columns.values()} == {table["length"]}
    return [{column: values[i] for column, values in columns.items()} for i in range(table["length"])]


def _values(packed: dict[str, Any]) -> list[Any]:
    dtype, null = {"u8": ("u1", 0xFF), "u16": ("<u2", 0xFFFF), "f32": ("<f4", None)}[packed["kind"]]
    numbers = np.frombuffer(base64.b64decode(packed["bytes"]), dtype).tolist()
    values = [None if number == null or number != number else number for number in numbers]
    if "words" in packed:
        return [None if value is None else packed["words"][value] for value in values]
    return values
