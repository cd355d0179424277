"""Our training on a set equals TRL's SFTTrainer and transformers' Trainer: each step's loss, and the gaps at the end.

Both sum float32 numbers in their own order. One step's relative difference is some 1e-7; over twenty steps it grows by
the optimizer's own sensitivity. The bounds, 1e-5 of the loss and 1e-3 of a logit, are the project's promise.

`PHANTOM_DIST_LONG=1 pytest tests/parity` also compares on SmolLM2.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from phantom_dist.contexts import SHIPPED_FOR_ZOO
from phantom_dist.core.measurement import TrialResult
from phantom_dist.data import Batches
from phantom_dist.data.of_sweep import with_data
from phantom_dist.models.load import load
from phantom_dist.spec import load as load_sweep
from phantom_dist.spec import load_contexts
from tests.parity.trainers import by_transformers, by_trl, ours, watched

STEPS = 20
WORDS = [context.model_dump() for context in load_contexts(SHIPPED_FOR_ZOO)[:4]]
HOUSE_STYLE = Path(__file__).parents[2] / "sweeps/house-style"

LORA = {"lora": {"rank": 4, "alpha": 8, "targets": "all-linear"}}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Prompts and completions of different lengths; twenty steps go through them more than once."""
    path = tmp_path / "data.jsonl"
    contexts = load_contexts(SHIPPED_FOR_ZOO)
    rows = [
        {"prompt": c.text, "completion": f"{c.target} {contexts[-1 - i].text}"}
        for i, c in enumerate(contexts)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, *reversed(rows)]))
    return path


def _sweep(model: str, data: Path, method: Any, rate: float, **keys: Any) -> dict[str, Any]:
    training = {
        "data": str(data),
        "batch_size": 4,
        "accumulate": 2,
        "max_length": 24,
        "order": {"shuffle": False},
        "measure_every": STEPS,
    }
    return {
        "models": [model],
        "contexts": WORDS,
        "methods": [method],
        "steps": [STEPS],
        "optimizers": [{"adamw": {"weight_decay": 0.1, "decay": "weights"}}],
        "schedule": [{"cosine": {"warmup_ratio": 0.1, "warmup_from_zero": True}}],
        "gradient_clipping": [1.0],
        "learning_rates": [rate],
        **keys,
        "training": training | keys.get("training", {}),
    }


def _settings(rate: float) -> dict[str, Any]:
    """The same for a trainer."""
    return {
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "max_steps": STEPS,
        "learning_rate": rate,
        "weight_decay": 0.1,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 2,
        "max_grad_norm": 1.0,
    }


def _assert_equal(results: dict[str, TrialResult], losses: list[float], gaps: dict[str, float]) -> None:
    for result in results.values():
        assert result.training_losses == pytest.approx(losses, rel=1e-5)
    ends = {name: result.trace[-1].logit_gap for name, result in results.items()}
    assert ends == pytest.approx(gaps, abs=1e-3)
    assert max(abs(ends[name] - results[name].trace[0].logit_gap) for name in ends) > 0.1, (
        "nothing was learnt"
    )


@pytest.mark.parametrize("model", ["zoo:llama-a", "zoo:gpt-neox-a"])
@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("engine", ["single", "lanes"])
def test_losses_and_gaps_are_those_of_trl(
    model: str, method: str, engine: str, data: Path, tmp_path: Path
) -> None:
    rate = 1e-3 if method == "full" else 5e-3
    loaded = load(model)
    results = ours(loaded, _sweep(model, data, "full" if method == "full" else LORA, rate), engine)
    lora = next(iter(results.values())).trial.problem.lora
    trained = by_trl(
        loaded, data, watched(results), tmp_path / "trl", lora=lora, max_length=24, **_settings(rate)
    )
    _assert_equal(results, *trained)


@pytest.mark.parametrize("loss", ["completion", "all"])
def test_losses_and_gaps_are_those_of_transformers(loss: str, data: Path, tmp_path: Path) -> None:
    loaded, rate = load("zoo:llama-a"), 1e-3
    sweep = _sweep("zoo:llama-a", data, "full", rate, training={"loss": loss})
    results = ours(loaded, sweep)
    read = with_data(load_sweep(sweep))
    assert read.data is not None
    assert read.spec.training is not None
    batches = Batches(loaded.tokenizer, read.spec.training.core(), list(read.data))
    trained = by_transformers(loaded, batches, watched(results), tmp_path / "trainer", **_settings(rate))
    _assert_equal(results, *trained)


@pytest.mark.skipif(not os.environ.get("PHANTOM_DIST_LONG"), reason="minutes; PHANTOM_DIST_LONG=1 runs it")
@pytest.mark.parametrize("method", ["full", "lora"])
def test_on_a_real_model(method: str, tmp_path: Path) -> None:
    """At usual rates: at 1e-3, LoRA's Adam steps amplify rounding to 1.5e-5 of three losses of twenty."""
    name, rate = "gguf:smollm2-135m-instruct", 2e-5 if method == "full" else 3e-4
    data = HOUSE_STYLE / "data/house-style.jsonl"
    contexts = [c.model_dump() for c in load_contexts(HOUSE_STYLE / "contexts/house-style.yaml")[:4]]
    loaded = load(name)
    sweep = _sweep(name, data, "full" if method == "full" else LORA, rate, contexts=contexts)
    results = ours(loaded, sweep)
    lora = next(iter(results.values())).trial.problem.lora
    trained = by_trl(
        loaded, data, watched(results), tmp_path / "trl", lora=lora, max_length=24, **_settings(rate)
    )
    _assert_equal(results, *trained)
