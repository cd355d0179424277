"""The JSON Schema of sweep files, for editors; `python -m phantom_dist.spec` writes it into the package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from phantom_dist.spec.sweep import SIDE_BY_SIDE, SweepSpec

SCHEMA_FILE = Path(__file__).with_name("sweep.schema.json")
"""The published schema; sweep files name it in their first line."""


def json_schema() -> dict[str, Any]:
    """The schema of the forms that `load` reads, including the short ones.

    It can't express everything that `load` checks: names of modules, lowest rate below highest, warm-up below steps.
    """
    schema = SweepSpec.model_json_schema(mode="validation")
    for name, axis in schema["properties"].items():
        if "items" in axis:
            schema["properties"][name] = _one_or_many(axis, unique=name not in SIDE_BY_SIDE)
    # Values that go side by side may occur again.
    schema["if"] = {"properties": {"combine": {"const": "zip"}}, "required": ["combine"]}
    schema["else"] = {"properties": {name: {"uniqueItems": True} for name in SIDE_BY_SIDE}}
    for definition in schema["$defs"].values():
        if "optimizers" in definition.get("properties", {}):
            axis, null = definition["properties"]["optimizers"].pop("anyOf")
            definition["properties"]["optimizers"] |= {"anyOf": [axis["items"], axis, null]}
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "phantom_dist sweep"}
    return head | {key: _tidy(value) for key, value in schema.items() if key != "title"}


def _tidy(value: Any) -> Any:
    """Drop pydantic's generated titles, and defaults of None, which mean `left out`."""
    if isinstance(value, list):
        return [_tidy(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _tidy(item)
        for key, item in value.items()
        if item is not None and not (key == "title" and isinstance(item, str))
    }


def _one_or_many(axis: dict[str, Any], *, unique: bool) -> dict[str, Any]:
    """Also allow a single value instead of a list of one."""
    annotations = {key: axis.pop(key) for key in ("description", "default", "title") if key in axis}
    return annotations | {"anyOf": [axis["items"], axis | {"uniqueItems": True} if unique else axis]}


def text() -> str:
    """The text of the published file."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"
