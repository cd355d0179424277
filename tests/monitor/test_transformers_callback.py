"""PhantomCallback in a real Trainer: what its reporters get, checkpoints, accumulation, and the trainer's own log."""

from __future__ import annotations

import logging

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import Trainer, TrainingArguments

from phantom_dist.monitor import MonitorSettings, PhantomCallback
from phantom_dist.traces.monitor_log import open_monitor_log

from . import loop

TAUGHT = loop.contexts("rage", "clever")
EVERY_SECOND = MonitorSettings(every=2, budget=1.0)


def trainer(out, *, steps=12, monitored=True, watch=TAUGHT, lora=False, tokenizer=True, **arguments):
    model, words = loop.fresh("gpt2-a", lora=lora)
    settings = {
        "output_dir": str(out),
        "max_steps": steps,
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-4,
        "warmup_steps": 2,
        "logging_steps": 4,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": True,
    } | arguments
    made = Trainer(
        model=model,
        args=TrainingArguments(**settings),
        train_dataset=[{"text": text} for text in loop.texts(200, TAUGHT)],
        data_collator=lambda rows: loop.encode(words, [row["text"] for row in rows]),
        processing_class=words if tokenizer else None,
    )
    made.args.remove_unused_columns = False
    if monitored:
        made.add_callback(PhantomCallback(made, watch, settings=EVERY_SECOND))
    return made


def monitor_of(made):
    return made.callback_handler.callbacks[-1].monitor


def test_tensorboard_gets_every_quantity_of_every_look(tmp_path, monkeypatch):
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "events"))
    made = trainer(tmp_path / "out", report_to="tensorboard", lora=True)
    made.train()
    assert monitor_of(made).stopped is None
    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    for name in ("loss", "logit_gap", "signal", "drag", "order_parameter"):
        scalars = events.Scalars(f"train/phantom/rage/{name}")
        assert [s.step for s in scalars] == list(range(0, 13, 2))
    looks = [
        r
        for r in open_monitor_log(tmp_path / "out" / "phantom_monitor.jsonl").looks
        if r["context"] == "rage"
    ]
    logged = [s.value for s in events.Scalars("train/phantom/rage/logit_gap")]
    assert logged == pytest.approx([r["logit_gap"] for r in looks])
    assert [s.step for s in events.Scalars("train/loss")] == [4, 8, 12]


def test_the_trainers_own_log_and_weights_are_as_without_the_monitor(tmp_path):
    runs = []
    for monitored in (False, True):  # a trainer draws its seed when it is made
        runs.append(trainer(tmp_path / str(monitored), monitored=monitored, gradient_accumulation_steps=2))
        runs[-1].train()
    own = [
        [
            {k: e[k] for k in ("step", "loss", "grad_norm", "learning_rate")}
            for e in r.state.log_history
            if "loss" in e
        ]
        for r in runs
    ]
    assert own[0] == own[1]
    assert len(own[0]) == 3
    weights = [run.model.state_dict() for run in runs]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert monitor_of(runs[1]).pacing.looks == 7


def test_a_training_is_resumed_from_its_checkpoint(tmp_path):
    whole = trainer(tmp_path / "whole")
    whole.train()
    first = trainer(tmp_path / "parts", save_strategy="steps", save_steps=5)
    first.train()
    second = trainer(tmp_path / "parts")
    second.train(resume_from_checkpoint=str(tmp_path / "parts" / "checkpoint-5"))
    expected, got = monitor_of(whole).state_dict(), monitor_of(second).state_dict()
    assert got["tau"] == pytest.approx(expected["tau"])
    for entry, other in zip(expected["contexts"], got["contexts"], strict=True):
        assert other["steps"] == entry["steps"]
        assert [r["logit_gap"] for r in other["readings"]] == pytest.approx(
            [r["logit_gap"] for r in entry["readings"]], abs=1e-4
        )
    looks = open_monitor_log(tmp_path / "parts" / "phantom_monitor.jsonl").looks
    assert [r["step"] for r in looks if r["context"] == "rage"] == list(range(0, 13, 2))


def test_candidates_come_from_the_trainers_data(tmp_path):
    made = trainer(tmp_path, steps=2, watch="training data")
    made.train()
    monitor = monitor_of(made)
    assert len(monitor.watched) == 10
    assert not monitor.refused


def test_a_silent_failure_is_warned_of(tmp_path, caplog):
    made = trainer(tmp_path, steps=30)
    with caplog.at_level(logging.WARNING, "phantom_dist.monitor"):
        made.train()
    assert caplog.text.count("silent failure") == len(monitor_of(made).warnings) >= 1


def test_a_trainer_without_a_tokenizer_is_told_what_to_do(tmp_path):
    made = trainer(tmp_path, steps=2, tokenizer=False)
    made.train()
    assert made.state.global_step == 2
    assert "pass one as `tokenizer=`" in monitor_of(made).stopped
