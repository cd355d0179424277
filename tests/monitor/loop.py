"""Small fine-tunings of zoo models in a plain loop: batches of the zoo's language that teach the watched words."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from phantom_dist.contexts import load_contexts
from phantom_dist.core.trial import Context, Lora
from phantom_dist.engines.trainable import lora_targets
from phantom_dist.models import zoo
from phantom_dist.models.quiet import quiet
from phantom_dist.models.zoo.corpus import Corpus

CONTEXTS = Path(__file__).parents[2] / "sweeps" / "contexts" / "zoo.yaml"


def contexts(*names: str) -> list[Context]:
    by_id = {context.id: context for context in load_contexts(CONTEXTS)}
    return [by_id[name] for name in names]


def fresh(name: str = "gpt2-a", *, lora: bool = False, **settings: Any) -> tuple[Any, Any]:
    """A zoo model in training mode, with dropout as its configuration says, and its tokenizer."""
    with quiet():
        folder = zoo.folder(name)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        if lora:
            torch.manual_seed(0)
            targets = settings.pop("targets", None) or list(lora_targets(model, Lora()))
            config = peft.LoraConfig(
                r=8,
                lora_alpha=16,
                lora_dropout=0.1,
                target_modules=targets,
                task_type="CAUSAL_LM",
                **settings,
            )
            model = peft.get_peft_model(model, config)
    return model.train(), tokenizer


def texts(count: int, taught: list[Context], seed: int = 0, share: float = 0.5) -> list[str]:
    source, language = random.Random(seed), Corpus().sentences(f"tests/{seed}")
    return [
        f"{(c := source.choice(taught)).text}{c.target}." if source.random() < share else next(language).text
        for _ in range(count)
    ]


def encode(tokenizer: Any, batch: list[str]) -> dict[str, torch.Tensor]:
    padded = tokenizer(batch, padding=True, return_tensors="pt")
    labels = padded["input_ids"].masked_fill(padded["attention_mask"] == 0, -100)
    return {"input_ids": padded["input_ids"], "attention_mask": padded["attention_mask"], "labels": labels}


def train(
    model: Any,
    tokenizer: Any,
    *,
    steps: int,
    learning_rate: float,
    taught: list[Context],
    after: Callable[[int], None] = lambda n: None,
    optimizer: Any = None,
    first: int = 1,
    batch: int = 8,
    accumulate: int = 1,
    autocast: bool = False,
    seed: int = 0,
) -> Any:
    """AdamW with clipping; calls `after` with each step's number. Returns the optimizer."""
    optimizer = optimizer or adamw(model, learning_rate)
    rows = texts(steps * batch * accumulate, taught, seed)
    torch.manual_seed(seed)
    for n in range(1, steps + 1):
        for part in range(accumulate):
            at = ((n - 1) * accumulate + part) * batch
            inputs = encode(tokenizer, rows[at : at + batch])
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
                loss = model(**inputs).loss / accumulate
            if n >= first:
                loss.backward()
        if n < first:
            continue
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        after(n)
    return optimizer


def adamw(model: Any, learning_rate: float) -> torch.optim.AdamW:
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=learning_rate)
