"""The monitor in a plain loop: what it logs, when it warns, how it resumes, and what it survives."""

from __future__ import annotations

import json
import logging
import math
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from phantom_dist.monitor import Monitor, MonitorSettings
from phantom_dist.traces.monitor_log import open_monitor_log

from . import loop

EVERY_SECOND = MonitorSettings(every=2, budget=1.0)
ROOT = Path(__file__).parents[2]
TAUGHT = loop.contexts("rage", "clever")


def monitored(rate, steps=40, name="gpt2-a", lora=False, **settings):
    model, tokenizer = loop.fresh(name, lora=lora)
    optimizer = loop.adamw(model, rate)
    logged = []
    monitor = Monitor(
        model,
        tokenizer,
        TAUGHT,
        optimizer=optimizer,
        total_steps=steps,
        settings=EVERY_SECOND,
        log=lambda values, step: logged.append((step, values)),
        **settings,
    )
    loop.train(
        model,
        tokenizer,
        steps=steps,
        learning_rate=rate,
        taught=TAUGHT,
        optimizer=optimizer,
        after=monitor.step,
    )
    monitor.finish()
    assert monitor.stopped is None
    return monitor, logged


def test_the_contexts_file_of_a_sweep_serves_the_monitor_too(tmp_path):
    """Held-out contexts among them: a training shows whether they follow."""
    rows = [c.model_dump() | {"held_out": number == 1} for number, c in enumerate(TAUGHT)]
    file, record = tmp_path / "contexts.yaml", tmp_path / "record.jsonl"
    file.write_text(json.dumps(rows))
    model, tokenizer = loop.fresh("gpt2-a")
    optimizer = loop.adamw(model, 1e-3)
    monitor = Monitor(
        model, tokenizer, file, optimizer=optimizer, total_steps=4, settings=EVERY_SECOND, record=record
    )
    loop.train(
        model,
        tokenizer,
        steps=4,
        learning_rate=1e-3,
        taught=TAUGHT,
        optimizer=optimizer,
        after=monitor.step,
    )
    monitor.finish()
    assert monitor.stopped is None
    looked_at = {row["context"] for row in open_monitor_log(record).looks}
    assert looked_at == {context.id for context in TAUGHT}


@pytest.fixture(scope="module")
def failing(tmp_path_factory):
    record = tmp_path_factory.mktemp("failing") / "record.jsonl"
    told = []
    monitor, logged = monitored(1e-4, record=record, on_warning=told.append)
    return monitor, logged, told, record


def test_a_learning_rate_that_is_too_small_is_told_once_for_each_context(failing):
    monitor, _, told, _ = failing
    assert told == monitor.warnings
    assert sorted(w.watched.context.id for w in told) == ["clever", "rage"]
    for warning in told:
        found = warning.finding
        assert found.kind in ("kinematic", "structural")
        assert found.since < found.step <= 0.6 * 40
        assert found.last.loss < found.first.loss
        assert found.last.logit_gap < 0
        assert 0 < found.share < 1
        assert warning.law.pi > 0
        for part in (
            f"silent failure ({found.kind})",
            f"since step {found.since}",
            f"fell from {found.first.loss:.2f} to {found.last.loss:.2f}",
            f"stays at {found.last.logit_gap:+.2f}",
            f"is {found.share:.2g} of the critical one",
            "it is an indication",
        ):
            assert part in warning.message


def test_a_learning_rate_that_is_large_enough_brings_no_warning():
    monitor, logged = monitored(3e-3)
    assert monitor.warnings == []
    assert all(logged[-1][1][f"phantom/{c.id}/logit_gap"] > 0 for c in TAUGHT)


def test_looks_are_logged_by_their_quantities(failing):
    _, logged, _, _ = failing
    assert [step for step, _ in logged] == list(range(0, 41, 2))
    for _, values in logged:
        assert len(values) == 11
        for context in TAUGHT:
            at = {
                name: values[f"phantom/{context.id}/{name}"]
                for name in ("loss", "logit_gap", "signal", "drag", "order_parameter")
            }
            assert at["order_parameter"] == pytest.approx(at["signal"] + at["drag"])
            assert at["loss"] > 0


def test_the_record_holds_looks_warnings_and_the_end(failing):
    monitor, logged, told, path = failing
    record = open_monitor_log(path)
    assert record.start["total_steps"] == 40
    assert [c["id"] for c in record.start["contexts"]] == ["rage", "clever"]
    assert len(record.looks) == 2 * len(logged)
    assert record.looks[0]["logit_gap"] == logged[0][1]["phantom/rage/logit_gap"]
    assert [w["message"] for w in record.warnings] == [w.message for w in told]
    assert record.end["looks"] == monitor.pacing.looks == 21


@pytest.mark.parametrize("stop", [8, 25])
def test_a_resumed_training_says_what_an_uninterrupted_one_says(failing, tmp_path, stop):
    whole = failing[0]
    model, tokenizer = loop.fresh("gpt2-a")
    optimizer = loop.adamw(model, 1e-4)
    settings = {"optimizer": optimizer, "total_steps": 40, "settings": EVERY_SECOND, "record": tmp_path / "r"}
    first = Monitor(model, tokenizer, TAUGHT, **settings)
    state = {}

    def until(n):
        (first if n <= stop else state["monitor"]).step(n)
        if n == stop:
            kept = json.loads(json.dumps(first.state_dict()))
            state["monitor"] = Monitor(model, tokenizer, TAUGHT, state=kept, **settings)

    loop.train(
        model, tokenizer, steps=40, learning_rate=1e-4, taught=TAUGHT, optimizer=optimizer, after=until
    )
    state["monitor"].finish()
    told = first.warnings + state["monitor"].warnings
    assert [w.finding for w in told] == [w.finding for w in whole.warnings]
    record = open_monitor_log(tmp_path / "r")
    assert [r["step"] for r in record.looks if r["context"] == "rage"] == list(range(0, 41, 2))


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ({"version": 7}, "monitor: state of version 7; this version reads 1"),
        ({"version": 1}, "monitor: the checkpoint's state can't be read (KeyError: 'step')"),
        (
            {"version": 1, "step": 3, "tau": 0.1, "learning_rate": 0.1, "contexts": [3]},
            "can't be read (TypeError",
        ),
    ],
)
def test_a_state_that_cannot_be_read_is_said_and_left(caplog, state, sentence):
    model, tokenizer = loop.fresh("gpt2-a")
    monitor = Monitor(model, tokenizer, TAUGHT, state=state)
    monitor.step(4)
    monitor.finish()
    assert sentence in monitor.stopped
    assert caplog.text.count("the monitor stops at step") == 1
    assert "Traceback" not in caplog.text


def test_a_training_that_explodes_is_told_once_and_goes_on(caplog):
    model, tokenizer = loop.fresh("gpt2-a")
    monitor = Monitor(model, tokenizer, TAUGHT, total_steps=6, settings=MonitorSettings(every=1, budget=1.0))
    with caplog.at_level(logging.WARNING, "phantom_dist.monitor"):
        for n in range(1, 7):
            if n == 3:
                with torch.no_grad():
                    next(model.parameters()).fill_(math.nan)
            monitor.step(n)
    assert monitor.stopped is None
    assert [w.finding.kind for w in monitor.warnings] == ["diverged", "diverged"]
    assert {w.finding.step for w in monitor.warnings} == {3}


def test_an_error_in_the_monitor_ends_the_monitor_and_not_the_training(caplog):
    model, tokenizer = loop.fresh("gpt2-a")

    def broken(values, step):
        if step:
            raise OSError("the tracker is gone")

    monitor = Monitor(model, tokenizer, TAUGHT, log=broken, settings=MonitorSettings(every=1, budget=1.0))
    for n in range(1, 4):
        monitor.step(n)
    monitor.finish()
    assert monitor.stopped == "OSError: the tracker is gone"
    assert caplog.text.count("the monitor stops at step 1, training goes on") == 1


def test_a_record_that_cannot_be_written_is_no_end_either(tmp_path, caplog):
    model, tokenizer = loop.fresh("gpt2-a")
    (tmp_path / "file").write_text("")
    monitor = Monitor(
        model,
        tokenizer,
        TAUGHT,
        record=tmp_path / "file" / "r",
        settings=MonitorSettings(every=1, budget=1.0),
    )
    monitor.step(1)
    assert monitor.stopped is None
    assert monitor.pacing.looks == 2
    assert caplog.text.count("goes on without its record") == 1


def test_few_looks_are_said_at_the_end(caplog):
    now = [0.0]

    def clock():
        now[0] += 1.0  # each question takes a second, so each look costs a few
        return now[0]

    model, tokenizer = loop.fresh("gpt2-a")
    monitor = Monitor(model, tokenizer, TAUGHT, total_steps=20, clock=clock)
    for n in range(1, 21):
        monitor.step(n)
    monitor.finish()
    assert monitor.pacing.looks == 1
    assert "only 1 looks fitted into the monitor's budget, 0.02" in caplog.text


def test_a_rate_can_be_told_or_left_out():
    for rates in ([0.1, 0.2, 0.2], [None, None, None]):
        model, tokenizer = loop.fresh("gpt2-a")
        monitor = Monitor(model, tokenizer, TAUGHT, settings=MonitorSettings(every=1, budget=1.0))
        for n, rate in enumerate(rates, start=1):
            monitor.step(n, rate)
        monitor.step(2)  # told before
        tau = monitor.state_dict()["tau"]
        assert tau == pytest.approx(sum(r if r is not None else 1.0 for r in rates))
        assert monitor.state_dict()["contexts"][0]["steps"] == [0, 1, 2, 3]


@pytest.mark.slow
def test_in_distributed_training_the_first_process_looks(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.monitor.rank", str(port), str(tmp_path)]
    ranks = [subprocess.Popen([*command, str(rank)], cwd=ROOT) for rank in range(2)]
    assert [rank.wait(timeout=300) for rank in ranks] == [0, 0]
    ends = [torch.load(tmp_path / f"end-{rank}") for rank in range(2)]
    assert [stopped for stopped, _ in ends] == [None, None]
    assert all(torch.equal(ends[0][1][name], ends[1][1][name]) for name in ends[0][1])
    assert len(open_monitor_log(tmp_path / "record-0").looks) == 2 * 5
    assert not (tmp_path / "record-1").exists()
