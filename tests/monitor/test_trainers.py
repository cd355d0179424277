"""Real trainers end with the same weights, random numbers and rows of their log, with the monitor and without it."""

from __future__ import annotations

import logging
from collections import defaultdict
from pathlib import Path

import datasets
import peft
import pytest
import torch
from transformers import Trainer, TrainerCallback, TrainingArguments
from trl import SFTConfig, SFTTrainer

from phantom_dist.monitor import MonitorSettings, PhantomCallback
from phantom_dist.monitor import __file__ as package

from . import loop

TAUGHT = loop.contexts("rage", "clever")
EVERY_SECOND = MonitorSettings(every=2, budget=1.0)
MEASURED_IN_TIME = ("runtime", "per_second", "total_flos")
SETTINGS = {
    "max_steps": 6,
    "per_device_train_batch_size": 4,
    "learning_rate": 1e-3,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "use_cpu": True,
}


class Averages(Trainer):
    """Like TRL's trainers: `log` adds the averages since the last row to its row and resets them."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.running = defaultdict(list)

    def compute_loss(self, model, inputs, *args, **kwargs):
        self.running["tokens"].append(float(inputs["attention_mask"].sum()))
        return super().compute_loss(model, inputs, *args, **kwargs)

    def log(self, logs, start_time=None):
        logs |= {name: sum(values) / len(values) for name, values in self.running.items()}
        self.running.clear()
        torch.rand(1)  # and it draws a number
        super().log(logs, start_time)


class Reporter(TrainerCallback):
    """A reporter of the user's own."""

    def __init__(self):
        self.rows = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.rows.append((state.global_step, dict(logs)))


class Hasty(TrainerCallback):
    """Raises at a row without a loss; the trainer itself logs none such."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not any("loss" in key for key in logs if not key.startswith("phantom/")):
            control.should_training_stop = True
            raise KeyError("loss")


def of_transformers(kind, folder, arguments):
    model, words = loop.fresh("gpt2-a")
    return kind(
        model=model,
        args=TrainingArguments(output_dir=str(folder), remove_unused_columns=False, **SETTINGS | arguments),
        train_dataset=[{"text": text} for text in loop.texts(64, TAUGHT)],
        eval_dataset=[{"text": text} for text in loop.texts(8, TAUGHT, seed=1)],
        data_collator=lambda rows: loop.encode(words, [row["text"] for row in rows]),
        processing_class=words,
    )


def of_trl(folder, arguments):
    model, words = loop.fresh("llama-a")
    words.pad_token = words.pad_token or words.eos_token
    adapter = arguments.pop("adapter", None)
    return SFTTrainer(
        model=model,
        args=SFTConfig(output_dir=str(folder), max_length=32, **SETTINGS | arguments),
        train_dataset=datasets.Dataset.from_list([{"text": text} for text in loop.texts(64, TAUGHT)]),
        processing_class=words,
        peft_config=adapter,
    )


LORA = peft.LoraConfig(r=4, lora_dropout=0.1, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")

CASES = {
    "Trainer": (Trainer, {}),
    "Trainer, adafactor": (Trainer, {"optim": "adafactor"}),
    "Trainer, cosine": (Trainer, {"lr_scheduler_type": "cosine", "warmup_steps": 2}),
    "Trainer, accumulation": (Trainer, {"gradient_accumulation_steps": 2, "logging_steps": 3}),
    "Trainer, checkpointing": (Trainer, {"gradient_checkpointing": True}),
    "Trainer, bfloat16": (Trainer, {"bf16": True}),
    "Trainer, evaluation": (Trainer, {"eval_strategy": "steps", "eval_steps": 3, "logging_steps": 2}),
    "Trainer, compiled": (Trainer, {"torch_compile": True, "torch_compile_backend": "eager"}),
    "a log with side effects": (Averages, {}),
    "a log with side effects, rarely": (Averages, {"logging_steps": 3}),
    "SFTTrainer": (SFTTrainer, {}),
    "SFTTrainer, rarely, accumulation": (SFTTrainer, {"logging_steps": 3, "gradient_accumulation_steps": 2}),
    "SFTTrainer, LoRA": (SFTTrainer, {"adapter": LORA}),
    "SFTTrainer, checkpointing": (SFTTrainer, {"gradient_checkpointing": True}),
}


def trained(name, folder, monitored, resume=None, **more):
    kind, arguments = CASES[name]
    arguments = arguments | more
    made = of_trl(folder, dict(arguments)) if kind is SFTTrainer else of_transformers(kind, folder, arguments)
    reporter = Reporter()
    made.add_callback(reporter)
    made.add_callback(Hasty())
    callback = PhantomCallback(made, TAUGHT, settings=EVERY_SECOND)
    if monitored:
        made.add_callback(callback)
    made.train(resume_from_checkpoint=resume)
    return made, reporter, callback.monitor


def looked(monitor, context):
    """The entry of one context in the state that a checkpoint would store."""
    return next(kept for kept in monitor.state_dict()["contexts"] if kept["context"]["id"] == context)


def own_rows(history):
    """The trainer's rows, without measured times."""
    return [
        {key: value for key, value in row.items() if not any(part in key for part in MEASURED_IN_TIME)}
        for row in history
        if not any(key.startswith("phantom/") for key in row)
    ]


def same(plain, watched):
    assert own_rows(plain.state.log_history) == own_rows(watched.state.log_history)
    assert "train_runtime" in watched.state.log_history[-1]
    one, other = plain.model.state_dict(), watched.model.state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if "compiled" in n else n for n in CASES]
)
def test_rows_weights_and_random_numbers_are_as_without_it(name, tmp_path, caplog):
    plain, alone, _ = trained(name, tmp_path / "plain", monitored=False)
    state = torch.get_rng_state()
    with caplog.at_level(logging.WARNING, "phantom_dist.monitor"):
        watched, reporter, monitor = trained(name, tmp_path / "watched", monitored=True)
    assert monitor.stopped is None
    assert torch.equal(state, torch.get_rng_state())
    same(plain, watched)
    assert watched.state.global_step == 6
    assert caplog.text.count("Hasty failed at a row of the monitor") == 1
    looks = [(step, row) for step, row in reporter.rows if "phantom/rage/logit_gap" in row]
    assert [step for step, _ in looks] == [0, 2, 4, 6]
    assert len(own_rows([row for _, row in reporter.rows])) == len(alone.rows)
    kept = [row for row in watched.state.log_history if "phantom/rage/logit_gap" in row]
    assert [row["step"] for row in kept] == [0, 2, 4, 6]
    assert [row["phantom/rage/logit_gap"] for row in kept] == [
        reading["logit_gap"] for reading in looked(monitor, "rage")["readings"]
    ]


@pytest.mark.parametrize("name", ["Trainer, cosine", "SFTTrainer"])
def test_a_resumed_training_too(name, tmp_path):
    ends = []
    for monitored in (False, True):
        folder = tmp_path / str(monitored)
        trained(name, folder, monitored, save_strategy="steps", save_steps=3)
        ends.append(trained(name, folder, monitored, resume=str(folder / "checkpoint-3")))
    same(ends[0][0], ends[1][0])
    assert ends[1][2].stopped is None
    assert looked(ends[1][2], "rage")["steps"] == [0, 2, 4, 6]


def test_the_console_shows_the_trainers_rows_alone(tmp_path, capsys):
    shown = []
    for monitored in (False, True):
        trained("Trainer", tmp_path / str(monitored), monitored)
        shown.append(capsys.readouterr().out)
    assert "phantom/" not in shown[1]
    assert shown[0].count("'loss'") == shown[1].count("'loss'") == 6


def test_the_readme_names_the_trainers_that_are_tested():
    table = (Path(package).parent / "README.md").read_text().split("## Trainers")[1].split("\n## ")[0]
    for name in (
        "`Trainer`",
        "`SFTTrainer`",
        "whose `log` does more",
        "Lightning's `Trainer`",
        "a plain loop",
    ):
        assert name in table
