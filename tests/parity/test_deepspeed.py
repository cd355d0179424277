"""A group of two ranks trains on a set as transformers does with DeepSpeed on two ranks, ZeRO 2 and 3.

Both shard the batch; they sum gradients in other orders, so the bounds are those of the other trainers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
import transformers

from phantom_dist.contexts import SHIPPED_FOR_ZOO
from phantom_dist.core.measurement import Trial, TrialResult
from phantom_dist.core.probe_result import Measured
from phantom_dist.data import Batches
from phantom_dist.data.of_sweep import with_data
from phantom_dist.engines.deepspeed_group import DeepSpeedEngine, Ranks, load_sharded
from phantom_dist.engines.training_sets import TrainingSets
from phantom_dist.models import Permissions
from phantom_dist.models.load import load
from phantom_dist.spec import expand, load_contexts
from phantom_dist.spec import load as load_sweep
from tests.engines.ranks import RankProcesses, ranks_here
from tests.parity.trainers import RecordingTrainer, quiet, steps_of

pytestmark = pytest.mark.slow

MODEL, STEPS, RATE = "zoo:llama-a", 20, 1e-3


@pytest.fixture(scope="module")
def pair() -> Iterator[RankProcesses]:
    processes = RankProcesses(ranks_here(2))
    yield processes
    processes.close()


def sweep(data: Path, accumulate: int) -> dict[str, Any]:
    """AdamW with warm-up and clipping on batches of four sequences; no decay, whose groups ranks don't support."""
    return {
        "models": [MODEL],
        "contexts": [context.model_dump() for context in load_contexts(SHIPPED_FOR_ZOO)[:4]],
        "methods": ["full"],
        "steps": [STEPS],
        "optimizers": ["adamw"],
        "schedule": [{"cosine": {"warmup_ratio": 0.1, "warmup_from_zero": True}}],
        "gradient_clipping": [1.0],
        "learning_rates": [RATE],
        "training": {
            "data": str(data),
            "batch_size": 4 * accumulate,
            "accumulate": accumulate,
            "max_length": 24,
            "order": {"shuffle": False},
            "measure_every": STEPS,
        },
    }


def by_a_group(ranks: Ranks, stage: int, asked: dict[str, Any]) -> list[TrialResult]:
    """The results of our group."""
    read = with_data(load_sweep(asked))
    assert read.data is not None
    examples = list(read.data)
    problems = expand(read.spec)
    model = load_sharded(problems[0], stage, ranks, Permissions())
    try:
        engine = DeepSpeedEngine((), TrainingSets(lambda sha256: examples))
        probed = [engine.probe(model, problem) for problem in problems]
        trials = [Trial(measured=m, learning_rate=RATE) for m in probed if isinstance(m, Measured)]
        return list(engine.run(model, trials))
    finally:
        model.zero.close()


def by_transformers(
    ranks: Ranks, stage: int, rows: list[dict[str, Any]], accumulate: int, folder: str
) -> list[float]:
    """The loss of each step of transformers' Trainer with DeepSpeed; this rank's part of it, times the ranks."""
    loaded = load(MODEL)
    tokenizer = loaded.tokenizer
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    zero = {"stage": stage, "stage3_param_persistence_threshold": 0} if stage == 3 else {"stage": stage}
    trainer = RecordingTrainer(
        model=loaded.model,
        args=transformers.TrainingArguments(
            **quiet(Path(folder)),
            per_device_train_batch_size=4 // ranks.count,
            gradient_accumulation_steps=accumulate,
            max_steps=STEPS,
            learning_rate=RATE,
            weight_decay=0.0,
            lr_scheduler_type="cosine",
            warmup_steps=2,
            max_grad_norm=1.0,
            deepspeed={
                "zero_optimization": zero,
                "zero_allow_untested_optimizer": True,
                "train_micro_batch_size_per_gpu": "auto",
                "gradient_accumulation_steps": "auto",
                "gradient_clipping": "auto",
            },
        ),
        train_dataset=datasets.Dataset.from_list(rows),
        data_collator=transformers.DataCollatorForSeq2Seq(tokenizer),
        processing_class=tokenizer,
    )
    return steps_of(trainer)


@pytest.mark.parametrize(("stage", "accumulate"), [(2, 1), (3, 1), (2, 2)])
def test_losses_are_those_of_transformers_with_deepspeed(
    pair: RankProcesses, stage: int, accumulate: int, tmp_path: Path
) -> None:
    data = tmp_path / "data.jsonl"
    contexts = load_contexts(SHIPPED_FOR_ZOO)
    texts = [(c.text, f"{c.target} {contexts[-1 - i].text}") for i, c in enumerate(contexts)] * 4
    whole = len(texts) // (4 * accumulate) * 4 * accumulate  # no smaller batch at an epoch's end
    data.write_text(
        "".join(json.dumps({"prompt": prompt, "completion": text}) + "\n" for prompt, text in texts[:whole])
    )
    asked = sweep(data, accumulate)
    ours, others = pair.call(by_a_group, stage, asked)
    assert [r.trace for r in ours] == [r.trace for r in others]
    read = with_data(load_sweep(asked))
    assert read.data is not None
    assert read.spec.training is not None
    batches = Batches(load(MODEL).tokenizer, read.spec.training.core(), list(read.data))
    rows = [
        {
            "input_ids": list(s.ids),
            "labels": [t if counts else -100 for t, counts in zip(s.ids, s.counted, strict=True)],
        }
        for step in range(batches.per_epoch)
        for s in batches[step].sequences
    ]
    theirs = pair.call(by_transformers, stage, rows, accumulate, str(tmp_path / "trainer"))
    losses = torch.tensor(theirs).mean(dim=0).tolist()
    assert len(losses) == STEPS
    assert ours
    for result in ours:
        assert result.training_losses == pytest.approx(losses, rel=1e-5)
