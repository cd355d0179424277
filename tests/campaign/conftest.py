"""A small real sweep over the zoo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

CONTEXTS = Path(__file__).parents[2] / "sweeps/contexts/zoo.yaml"


@pytest.fixture
def sweep() -> dict[str, Any]:
    """Two contexts of one zoo model, full SGD and LoRA AdamW, critical rates to 5 % from first order."""
    from phantom_dist.spec import load_contexts

    contexts = [c.model_dump() for c in load_contexts(CONTEXTS)[:2]]
    return {
        "name": "small",
        "models": ["zoo:gpt2-a"],
        "contexts": contexts,
        "methods": [
            {"full": {"optimizers": ["sgd"]}},
            {"lora": {"rank": 4, "alpha": 8, "optimizers": ["adamw"]}},
        ],
        "learning_rates": {"critical": {"tolerance": 0.05, "start": "first_order"}},
        "steps": [4],
    }
