"""Our training on a set equals TRL's SFTTrainer: the loss of each step, and the watched gaps at the end.

Both sum float32 numbers in their own order. One step's relative difference is some 1e-7; over twenty steps it grows by
the optimizer's own sensitivity. The bounds, 1e-5 of the loss and 1e-3 of a logit, are the project's promise.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phantom_dist.contexts import SHIPPED_FOR_ZOO
from phantom_dist.models import load
from phantom_dist.spec import load_contexts
from tests.parity.trainers import by_trl, ours

STEPS = 20
WORDS = load_contexts(SHIPPED_FOR_ZOO)[:4]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Prompts and completions of different lengths, more than once through."""
    path = tmp_path / "data.jsonl"
    contexts = load_contexts(SHIPPED_FOR_ZOO)
    rows = [
        {"prompt": c.text, "completion": f"{c.target} {contexts[-1 - i].text}"}
        for i, c in enumerate(contexts)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *reversed(rows)]))
    return path


def _sweep(model: str, data: Path, **keys: Any) -> dict[str, Any]:
    return {
        "models": [model],
        "contexts": [context.model_dump() for context in WORDS],
        "steps": [STEPS],
        "optimizers": [{"adamw": {"weight_decay": 0.1, "decay": "weights"}}],
        "schedule": [{"cosine": {"warmup_ratio": 0.1, "warmup_from_zero": True}}],
        "gradient_clipping": [1.0],
        "training": {
            "data": str(data),
            "batch_size": 4,
            "accumulate": 2,
            "max_length": 24,
            "order": {"shuffle": False},
            "measure_every": STEPS,
        },
        **keys,
    }


@pytest.mark.parametrize("model", ["zoo:llama-a", "zoo:gpt-neox-a"])
@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("engine", ["single", "lanes"])
def test_losses_and_gaps_are_those_of_trl(
    model: str, method: str, engine: str, data: Path, tmp_path: Path
) -> None:
    rate = 1e-3 if method == "full" else 5e-3
    methods = ["full"] if method == "full" else [{"lora": {"rank": 4, "alpha": 8, "targets": "all-linear"}}]
    loaded = load(model)
    results = ours(loaded, _sweep(model, data, methods=methods, learning_rates=[rate]), engine)
    tokens = {name: result.trial.measured.tokens for name, result in results.items()}
    losses, gaps = by_trl(
        loaded,
        data,
        {name: (t.prompt, t.target, t.competitor) for name, t in tokens.items()},
        tmp_path / "trl",
        lora=next(iter(results.values())).trial.problem.lora,
        accumulate=2,
        per_device_train_batch_size=2,
        max_length=24,
        max_steps=STEPS,
        learning_rate=rate,
        weight_decay=0.1,
        lr_scheduler_type="cosine",
        warmup_steps=2,
        max_grad_norm=1.0,
    )
    for result in results.values():
        assert result.training_losses == pytest.approx(losses, rel=1e-5)
    ends = {name: result.trace[-1].logit_gap for name, result in results.items()}
    assert ends == pytest.approx(gaps, abs=1e-3)
    assert max(abs(ends[name] - results[name].trace[0].logit_gap) for name in ends) > 0.1, (
        "nothing was learnt"
    )
