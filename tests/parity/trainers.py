"""The same training by the tools that people use: TRL's SFTTrainer and transformers' Trainer, and by our engine."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import datasets
import peft
import torch
import transformers
import trl
from torch.utils.data import SequentialSampler

from phantom_dist.core.measurement import Trial, TrialResult
from phantom_dist.core.probe_result import Measured
from phantom_dist.data import Batches
from phantom_dist.data.of_sweep import with_data
from phantom_dist.engines import engine_named
from phantom_dist.engines.probe import probe
from phantom_dist.engines.trainable import lora_targets
from phantom_dist.engines.training_sets import TrainingSets
from phantom_dist.models.last_logits import last_logits
from phantom_dist.models.load import LoadedModel
from phantom_dist.spec import expand, load


def ours(loaded: LoadedModel, sweep: Mapping[str, Any], engine: str = "single") -> dict[str, TrialResult]:
    """The results of a sweep with one learning rate, by context."""
    read = with_data(load(sweep))
    assert read.data is not None
    examples = list(read.data)
    sets = TrainingSets(lambda sha256: examples)
    (rate,) = sweep["learning_rates"]
    probed = [probe(loaded, problem, sets) for problem in expand(read.spec)]
    trials = [Trial(measured=m, learning_rate=rate) for m in probed if isinstance(m, Measured)]
    results = engine_named(engine, (), sets).run(loaded, trials)
    return {result.trial.problem.context.id: result for result in results}


class _Recording:
    """Takes a trainer's losses of each pass, unrounded, and its examples in order."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.passes: list[float] = []

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        loss = super().compute_loss(*args, **kwargs)  # type: ignore[misc]
        value = loss[0] if isinstance(loss, tuple) else loss
        self.passes.append(float(value.detach()))
        return loss

    def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
        return SequentialSampler(self.train_dataset)  # type: ignore[attr-defined]


class RecordingSFTTrainer(_Recording, trl.SFTTrainer):  # type: ignore[misc]
    """TRL's trainer."""


class RecordingTrainer(_Recording, transformers.Trainer):  # type: ignore[misc]
    """transformers' own."""


Contexts = Mapping[str, tuple[tuple[int, ...], int, int]]
"""Prompt, target and competitor by id."""


def watched(results: Mapping[str, TrialResult]) -> Contexts:
    """The contexts of our results."""
    tokens = {name: result.trial.measured.tokens for name, result in results.items()}
    return {name: (t.prompt, t.target, t.competitor) for name, t in tokens.items()}


def by_transformers(
    loaded: LoadedModel, batches: Batches, contexts: Contexts, folder: Path, **settings: Any
) -> tuple[list[float], dict[str, float]]:
    """Train fully with transformers' Trainer on the tokens of our batches, in the file's order."""
    model = copy.deepcopy(loaded.model)
    tokenizer = copy.deepcopy(loaded.tokenizer)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.convert_ids_to_tokens(0)
    rows = [
        {
            "input_ids": list(s.ids),
            "labels": [t if counts else -100 for t, counts in zip(s.ids, s.counted, strict=True)],
        }
        for step in range(batches.per_epoch)
        for s in batches[step].sequences
    ]
    trainer = RecordingTrainer(
        model=model,
        args=transformers.TrainingArguments(**quiet(folder), **settings),
        train_dataset=datasets.Dataset.from_list(rows),
        data_collator=transformers.DataCollatorForSeq2Seq(tokenizer),
        processing_class=tokenizer,
    )
    return _trained(trainer, contexts)


def quiet(folder: Path) -> dict[str, Any]:
    """A trainer's arguments: no files, no reports, no GPU."""
    return {
        "output_dir": str(folder),
        "bf16": False,
        "use_cpu": True,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
        "seed": 0,
    }


def _trained(trainer: Any, contexts: Contexts) -> tuple[list[float], dict[str, float]]:
    """The loss of each step, and each context's gap at the end."""
    return steps_of(trainer), _gaps(trainer.model, contexts)


def steps_of(trainer: Any) -> list[float]:
    """Train; the loss of each step."""
    ends: list[int] = []
    trainer.add_callback(_Steps(trainer.passes, ends))
    trainer.train()
    return [sum(trainer.passes[a:b]) for a, b in pairwise([0, *ends])]


def by_trl(
    loaded: LoadedModel,
    data: Path,
    contexts: Contexts,
    folder: Path,
    *,
    lora: Any = None,
    **settings: Any,
) -> tuple[list[float], dict[str, float]]:
    """Train with TRL. `lora`: our settings of the adapters."""
    model = copy.deepcopy(loaded.model)
    if lora is not None:
        torch.manual_seed(0)
        config = peft.LoraConfig(
            r=lora.rank,
            lora_alpha=lora.alpha,
            target_modules=list(lora_targets(model, lora)),
            lora_dropout=lora.dropout,
            use_rslora=lora.rslora,
            task_type="CAUSAL_LM",
        )
        model = peft.get_peft_model(model, config, autocast_adapter_dtype=False)
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    trainer = RecordingSFTTrainer(
        model=model,
        args=trl.SFTConfig(**quiet(folder), **settings),
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=copy.deepcopy(loaded.tokenizer),
    )
    return _trained(trainer, contexts)


class _Steps(transformers.TrainerCallback):  # type: ignore[misc]
    """Notes how many passes there were at the end of each step; an epoch's last step may have fewer."""

    def __init__(self, passes: list[float], ends: list[int]) -> None:
        self._passes, self._ends = passes, ends

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self._ends.append(len(self._passes))


@torch.no_grad()
def _gaps(model: Any, contexts: Contexts) -> dict[str, float]:
    model.eval()
    gaps = {}
    for name, (prompt, target, competitor) in contexts.items():
        logits_V = last_logits(model, prompt)
        gaps[name] = float(logits_V[target] - logits_V[competitor])
    return gaps
