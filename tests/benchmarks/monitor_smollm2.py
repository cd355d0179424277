"""A real model watched: LoRA on SmolLM2 that fails silently, and one that succeeds. Writes both records and a picture.

    python -m tests.benchmarks.monitor_smollm2 --out runs/monitor

The two trainings differ in their learning rate alone. Batches of 24 short texts: half of them say a watched context
with the right word, half are other contexts of the package as the model itself would go on. AdamW, warm-up, cosine,
clipping, dropout on the adapters; through transformers' Trainer and PhantomCallback with its default settings. About
three minutes each on a quiet core; the budget is kept by processor time. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import peft
import torch
from transformers import Trainer, TrainingArguments

from phantom_dist.core.trial import Context, Lora
from phantom_dist.engines.trainable import lora_targets
from phantom_dist.models.load import load
from phantom_dist.models.quiet import quiet
from phantom_dist.monitor import PhantomCallback
from phantom_dist.monitor.watch import contexts_of
from phantom_dist.reports import export_monitored
from phantom_dist.traces.monitor_log import open_monitor_log

MODEL = "gguf:smollm2-135m-instruct"
TAUGHT = ("clever", "better")
RATES = {"failing": 4e-5, "healthy": 3e-4}
STEPS, BATCH = 60, 24


def texts(taught: Sequence[Context], others: Sequence[Context]) -> list[str]:
    """The texts of one training, in order; a context with `auto` has no word to go on with and is left out."""
    source = random.Random(2606)
    plain = [c for c in others if c.competitor != "auto"]
    found = []
    for _ in range(STEPS * BATCH):
        if source.random() < 0.5:
            context = source.choice(taught)
            found.append(context.text + context.target + ".")
        else:
            context = source.choice(plain)
            found.append(context.text + context.competitor + ".")
    return found


def train(name: str, rate: float, out: Path) -> dict[str, Any]:
    """One training; its record lies at `out/NAME.jsonl`."""
    started = time.perf_counter()
    record = out / f"{name}.jsonl"
    record.unlink(missing_ok=True)
    loaded = load(MODEL)
    contexts = contexts_of(None)
    taught = [c for c in contexts if c.id in TAUGHT]
    assert len(taught) == len(TAUGHT), [c.id for c in contexts]
    torch.manual_seed(0)
    config = peft.LoraConfig(
        r=8,
        lora_alpha=16,
        lora_dropout=0.05,
        target_modules=list(lora_targets(loaded.model, Lora())),
        task_type="CAUSAL_LM",
    )
    words = loaded.tokenizer
    words.pad_token = words.pad_token or words.eos_token
    with quiet():
        model = peft.get_peft_model(loaded.model, config)
    rows = [{"text": text} for text in texts(taught, [c for c in contexts if c.id not in TAUGHT])]

    def collate(batch: list[dict[str, str]]) -> dict[str, torch.Tensor]:
        padded = words([row["text"] for row in batch], padding=True, return_tensors="pt")
        labels = padded["input_ids"].masked_fill(padded["attention_mask"] == 0, -100)
        return {
            "input_ids": padded["input_ids"],
            "attention_mask": padded["attention_mask"],
            "labels": labels,
        }

    arguments = TrainingArguments(
        output_dir=str(out / name),
        max_steps=STEPS,
        per_device_train_batch_size=BATCH,
        learning_rate=rate,
        lr_scheduler_type="cosine",
        warmup_steps=STEPS // 20,
        max_grad_norm=1.0,
        logging_steps=10,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        remove_unused_columns=False,
    )
    trainer = Trainer(
        model=model, args=arguments, train_dataset=rows, data_collator=collate, processing_class=words
    )
    callback = PhantomCallback(trainer, taught, record=record, clock=time.process_time)
    trainer.add_callback(callback)
    trainer.train()
    monitor = callback.monitor
    assert monitor is not None
    last = {row["context"]: row for row in open_monitor_log(record).looks}
    return {
        "learning_rate": rate,
        "gaps": {context: row["logit_gap"] for context, row in last.items()},
        "warnings": [w.message for w in monitor.warnings],
        "looks": monitor.pacing.looks,
        "cost_share": monitor.cost_share,
        "seconds": time.perf_counter() - started,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.monitor_smollm2", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="directory of the records and the picture")
    out = parser.parse_args(arguments).out
    out.mkdir(parents=True, exist_ok=True)
    logging.basicConfig(format="%(message)s")
    results = {name: train(name, rate, out) for name, rate in RATES.items()}
    records = {
        f"{name}: LoRA, η = {rate:g}": open_monitor_log(out / f"{name}.jsonl") for name, rate in RATES.items()
    }
    export_monitored(records, out / "monitored.png")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
