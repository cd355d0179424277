"""Pretrains the zoo's models: `python -m phantom_dist.models.zoo.pretrain [NAME ...] [--out DIR]`.

Every batch is new text, so no sentence is seen twice, and a little weight decay is the only regularisation needed.
One thread, fixed seeds and deterministic kernels make a run reproducible bit for bit on one kind of processor. Another
kind sums in another order, and training amplifies the differences. Measured on gpt2-a with the last bit of one initial
weight changed: in float32, weights end up to 0.06 apart and gaps up to 0.09 logits; in float64, weights end up to 2e-10
apart. AVX-512 and AVX2 differ by as much. The float64 difference vanishes when weights are stored in float16, so the
smallest model, which the tests retrain, is pretrained in float64. The others use float32, which is twice as fast; on
another processor they become equally good but not identical.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from phantom_dist.core.errors import did_you_mean
from phantom_dist.models.zoo import WEIGHTS, corpus, tokenizer
from phantom_dist.models.zoo.architectures import ZOO, Architecture
from phantom_dist.models.zoo.publish import publish, write_hashes

SEED = 0
BATCH = 32
"""Sentences per step."""
WARMUP = 0.05
"""Share of the steps with a rising learning rate; then a half cosine."""
IGNORED = -100
"""The label that cross-entropy ignores."""

OnStep = Callable[[int, float], None]


def pretrain(architecture: Architecture, on_step: OnStep = lambda step, loss: None) -> PreTrainedModel:
    """Pretrain a model; returned as float32. The result depends only on the architecture, the seeds and this file.

    `on_step` is called with each step and its loss (nat per token).
    """
    with _reproducible():
        return train(untrained(architecture), architecture, on_step).to(torch.float32)


def untrained(architecture: Architecture) -> PreTrainedModel:
    """The untrained model in the precision of its pretraining, in evaluation mode (no dropout)."""
    torch.manual_seed(SEED)
    words = zoo_tokenizer()
    model: PreTrainedModel = AutoModelForCausalLM.from_config(
        architecture.config(len(words), words.bos_token_id), dtype=torch.float32
    )
    return model.to(getattr(torch, architecture.pretrained_in)).eval()


def train(model: PreTrainedModel, architecture: Architecture, on_step: OnStep) -> PreTrainedModel:
    """Train in place with AdamW; without weight decay on biases and norms."""
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.05},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.98),
    )
    batches = _batches()
    for step in range(1, architecture.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = architecture.learning_rate * schedule(step / architecture.steps)
        ids_BL, labels_BL = next(batches)
        loss = next_token_loss(model, ids_BL, labels_BL)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        on_step(step, loss.item())
    return model


def next_token_loss(model: PreTrainedModel, ids_BL: Tensor, labels_BL: Tensor) -> Tensor:
    """Mean cross-entropy, nat per token, in the model's own precision (transformers' own loss is float32)."""
    logits_BLV = model(input_ids=ids_BL).logits
    return cross_entropy(logits_BLV[:, :-1].flatten(0, 1), labels_BL[:, 1:].flatten(), ignore_index=IGNORED)


def schedule(done: float) -> float:
    """Learning rate over its peak after the share `done` of the steps: linear warm-up, then a half cosine to 0.02."""
    return min(1.0, done / WARMUP) * (0.02 + 0.98 * 0.5 * (1.0 + math.cos(math.pi * done)))


def zoo_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer that all zoo models share."""
    return tokenizer.build(corpus.vocabulary())


def encode(words: PreTrainedTokenizerFast, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Token ids and labels (sentences x longest); each sentence has boundary tokens and is padded at its end."""
    rows = [[*ids, words.eos_token_id] for ids in words(list(texts))["input_ids"]]
    longest = max(map(len, rows))
    ids_BL = torch.full((len(rows), longest), words.eos_token_id)
    labels_BL = torch.full((len(rows), longest), IGNORED)
    for i, row in enumerate(rows):
        ids_BL[i, : len(row)] = labels_BL[i, : len(row)] = torch.tensor(row)
    return ids_BL, labels_BL


@contextmanager
def _reproducible() -> Iterator[None]:
    """Use one thread and deterministic kernels; restore the process's settings at the end."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)


def _batches() -> Iterator[tuple[Tensor, Tensor]]:
    words = zoo_tokenizer()
    sentences = corpus.Corpus().sentences("train")
    while True:
        yield encode(words, [next(sentences).text for _ in range(BATCH)])


def held_out_loss(model: PreTrainedModel, sentences: int = 1000) -> tuple[float, float]:
    """Loss on held-out text, and the language's entropy on the same text, nat per token."""
    drawn = corpus.take(corpus.Corpus(), "held-out", sentences)
    ids_BL, labels_BL = encode(zoo_tokenizer(), [s.text for s in drawn])
    with torch.no_grad():
        loss = next_token_loss(model, ids_BL, labels_BL).item()
    tokens = int((labels_BL[:, 1:] != IGNORED).sum())
    return loss, -sum(s.log_probability for s in drawn) / tokens


def main(arguments: Sequence[str] | None = None) -> None:
    """The command: pretrain the named models (default: all) and record the hashes."""
    parser = argparse.ArgumentParser(prog="python -m phantom_dist.models.zoo.pretrain", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"models to pretrain (default: all): {', '.join(ZOO)}"
    )
    parser.add_argument(
        "--out", type=Path, default=WEIGHTS, help="output folder (default: the package's own)"
    )
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in ZOO:
            parser.error(f"the zoo has no architecture {name!r}.{did_you_mean(name, ZOO)}")
    pretrain_all(options.names or list(ZOO), options.out)


def pretrain_all(names: Sequence[str], out: Path) -> None:
    """Pretrain and write the models one after another, with one progress bar for all."""
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        work = progress.add_task("zoo", total=sum(ZOO[name].steps for name in names))
        for name in names:
            started = time.process_time()

            def advance(step: int, loss: float, name: str = name) -> None:
                progress.update(work, advance=1, description=f"{name} loss {loss:.3f}")

            model = pretrain(ZOO[name], advance)
            publish(model, zoo_tokenizer(), out / name)
            loss, entropy = held_out_loss(model)
            console.print(
                f"{name}: {time.process_time() - started:.0f} s of one core, held-out loss {loss:.3f} "
                f"(entropy {entropy:.3f}) nat per token"
            )
            write_hashes(out)


if __name__ == "__main__":
    main()
