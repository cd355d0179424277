"""KubeRay's own schemas, closed: a key that they don't know is an error, as `kubectl apply` would say."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import yaml


def strict_schema(plural: str, version: str = "v1") -> dict[str, Any]:
    """The JSON Schema of a custom resource, by its plural name (`rayclusters`)."""
    text = gzip.decompress(Path(__file__).with_name(f"ray.io_{plural}.yaml.gz").read_bytes())
    definition = yaml.load(text, yaml.CSafeLoader)
    found = next(v for v in definition["spec"]["versions"] if v["name"] == version)
    schema: dict[str, Any] = found["schema"]["openAPIV3Schema"]
    schema["properties"]["metadata"] = {"properties": {"name": {"type": "string"}}}  # the CRD leaves it open
    return _closed(schema)


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    lists_keys = isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema
    if lists_keys and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed["additionalProperties"] = False
    return closed
