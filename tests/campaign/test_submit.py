"""What `submit` refuses before anything is sent; what it sends is tested with `scheduling.ray_job`."""

from __future__ import annotations

import json

import pytest

import phantom_dist
from phantom_dist.campaign.submit import last_object
from phantom_dist.core.errors import InputError
from phantom_dist.data.of_sweep import with_data
from phantom_dist.spec import expand, load

CONTEXT = {"id": "c", "text": "He spoke openly of his", "target": " shame", "competitor": " guilt"}


def sweep(model: str) -> dict:
    return {"models": model, "contexts": [CONTEXT], "learning_rates": [1e-3]}


@pytest.mark.parametrize("out", ["runs/x", "./x", "x", "~/x"])
def test_a_relative_directory_cannot_mean_the_cluster(out):
    with pytest.raises(
        InputError, match=r"--out .*: a relative path is a folder of this machine.* Allowed: s3://"
    ):
        phantom_dist.submit(sweep("zoo:gpt2-a"), out, address="http://127.0.0.1:1")


@pytest.mark.parametrize("model", ["./my-model", "gguf:./x.gguf", "peft:./adapter", "mine"])
def test_a_model_of_this_machine_cannot_be_meant_either(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match=f"models: {model} is a path of this machine"):
        phantom_dist.submit(sweep(model), "s3://bucket/run", address="http://127.0.0.1:1")


def test_what_run_can_be_asked_for_is_passed_on(monkeypatch):
    sent = []

    class Jobs:
        def __init__(self, address):
            pass

        def start(self, name, command, files):
            sent.append((name, command))
            return name, True

    monkeypatch.setattr("phantom_dist.scheduling.ray_job.RayJobs", Jobs)
    for how in ({}, {"retry": "failed", "max_hours": 1.5, "max_trials": 9, "workers": 4, "engine": "single"}):
        phantom_dist.submit(
            sweep("zoo:gpt2-a"), "s3://bucket/run", address="http://127.0.0.1:1", wait=False, **how
        )
    (plain, command), (other, more) = sent
    assert command[-3:] == ["--address", "auto", "--json"]
    options = [
        "--engine",
        "single",
        "--workers",
        "4",
        "--retry",
        "failed",
        "--max-hours",
        "1.5",
        "--max-trials",
        "9",
    ]
    assert more == [*command, *options]
    assert plain != other, "what is asked for otherwise is another job"


def test_training_data_are_sent_along(tmp_path, monkeypatch):
    sent = []

    class Jobs:
        def __init__(self, address):
            pass

        def start(self, name, command, files):
            sent.append(files)
            return name, True

    monkeypatch.setattr("phantom_dist.scheduling.ray_job.RayJobs", Jobs)
    data = tmp_path / "mine.jsonl"
    data.write_text(
        "".join(json.dumps({"prompt": f"say {n}", "completion": " it", "n": n}) + "\n" for n in range(9))
    )
    own = sweep("zoo:gpt2-a") | {"training": {"data": str(data), "batch_size": 2}, "epochs": [3]}
    phantom_dist.submit(own, "s3://bucket/run", address="http://127.0.0.1:1", wait=False)
    (files,) = sent
    there = tmp_path / "there"
    there.mkdir()
    for name, text in files.items():
        (there / name).write_text(text)
    here, received = with_data(load(own)).spec, with_data(load(there / "sweep.yaml")).spec
    assert expand(received) == expand(here)
    assert received.steps == (15,)
    of_contexts = own | {"training": {"data": "contexts", "batch_size": 1}}
    phantom_dist.submit(of_contexts, "s3://bucket/run", address="http://127.0.0.1:1", wait=False)
    assert set(sent[1]) == {"sweep.yaml"}


def test_a_bad_address_is_the_users_mistake():
    with pytest.raises(InputError, match=r"--address http://127\.0\.0\.1:1: no job server"):
        phantom_dist.submit(sweep("zoo:gpt2-a"), "s3://bucket/run", address="http://127.0.0.1:1")


@pytest.mark.parametrize("inside", ["\u2028", "\u2029", "\x85"])
def test_the_answer_is_the_last_line_whatever_is_in_its_texts(inside):
    answer = {"run": f"a{inside}b", "state": "complete"}
    log = f"started\n{json.dumps({'run': 'early'})}\n{json.dumps(answer, ensure_ascii=False)}\ngone\n"
    assert last_object(log) == answer
