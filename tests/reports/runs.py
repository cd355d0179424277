"""Small sweeps for pages, and tables for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from phantom_dist.spec import load_contexts
from phantom_dist.traces import schema

CONTEXTS = load_contexts(Path(__file__).parents[2] / "sweeps/contexts/zoo.yaml")
TRACES = schema.TRACES.append(pa.field("model", pa.string()))
WILD = [0.03, 0.3, 3.0]


def sweep(**more: Any) -> dict[str, Any]:
    """Three contexts of the smallest zoo model, full SGD and LoRA AdamW."""
    return {
        "name": "tiny",
        "models": ["zoo:gpt2-a"],
        "contexts": [c.model_dump() for c in CONTEXTS[:3]],
        "methods": [
            {"full": {"optimizers": ["sgd"]}},
            {"lora": {"rank": 4, "alpha": 8, "optimizers": ["adamw"]}},
        ],
        "steps": [8],
        **more,
    }


def table(rows: Sequence[dict[str, Any]], columns: pa.Schema) -> pa.Table:
    """Rows as a table of exactly these columns; what a row lacks is null."""
    return pa.Table.from_pylist(list(rows), columns)
