"""`predict --out FILE`: an interrupted command keeps its predictions, and the same command resumes from them."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import phantom_dist
from phantom_dist.calibration import kept_predictions, predict, predicted_training
from phantom_dist.core.errors import InputError, Interrupted
from phantom_dist.engines.set_probe import probe_on_set
from phantom_dist.law.file import read_law, write_law
from phantom_dist.models.zoo import folder
from phantom_dist.spec import expand, load_contexts
from phantom_dist.spec import load as load_sweep

ROOT = Path(__file__).parents[2]
CONTEXTS = load_contexts(ROOT / "sweeps/contexts/zoo.yaml")[:4]
MODEL = "zoo:gpt2-a"


@pytest.fixture(scope="module")
def whole():
    return phantom_dist.predict(MODEL, CONTEXTS, steps=2)


@pytest.fixture
def probed(monkeypatch):
    """The contexts that were probed, in order; `probed.stop_at` interrupts before that many."""

    class Probed(list):
        stop_at: int | None = None

    seen, probe = Probed(), predict.probe_path

    def counted(loaded, problem):
        if len(seen) == seen.stop_at:
            raise KeyboardInterrupt
        seen.append(problem.context.id)
        return probe(loaded, problem)

    monkeypatch.setattr(predict, "probe_path", counted)
    return seen


@pytest.mark.parametrize("every", [0.0, 3600.0], ids=["written at once", "written at the end"])
def test_an_interrupted_prediction_goes_on_to_the_same_end(every, whole, probed, tmp_path, monkeypatch):
    monkeypatch.setattr(kept_predictions, "EVERY_S", every)
    stored = whole.to_json()
    file, probed.stop_at = tmp_path / "rates.json", 2
    with pytest.raises(
        Interrupted, match=rf"2 predictions are stored in {file}: the same command continues there"
    ):
        phantom_dist.predict(MODEL, CONTEXTS, steps=2, out=file)
    content = json.loads(file.read_text())
    assert (content["complete"], content["predictions"]) == (False, stored["predictions"][:2])
    probed.stop_at = None
    assert phantom_dist.predict(MODEL, CONTEXTS, steps=2, out=file) == whole
    assert probed == [context.id for context in CONTEXTS], "none was probed twice"
    content = json.loads(file.read_text())
    assert content["complete"]
    assert {key: content[key] for key in stored} == stored
    assert [problem["context"] for problem in content["problems"]] == [
        context.model_dump() for context in CONTEXTS
    ]
    assert phantom_dist.predict(MODEL, CONTEXTS[:1], steps=2, out=file).predictions == whole.predictions[:1]
    assert json.loads(file.read_text())["predictions"] == stored["predictions"], "what was kept stays"
    assert len(probed) == len(CONTEXTS)


def test_without_a_file_it_says_so(probed):
    probed.stop_at = 1
    with pytest.raises(Interrupted, match=r"no prediction was stored: with `--out FILE`"):
        phantom_dist.predict(MODEL, CONTEXTS, steps=2)


def test_another_text_under_the_same_id_is_predicted_anew(probed, tmp_path):
    file, other = tmp_path / "rates.json", CONTEXTS[0].model_copy(update={"text": CONTEXTS[1].text})
    for contexts in (CONTEXTS[:1], [other]):
        phantom_dist.predict(MODEL, contexts, steps=2, out=file)
    assert len(probed) == 2


def test_other_questions_share_the_file(probed, tmp_path):
    """Each prediction says which training it is for."""
    file = tmp_path / "rates.json"
    asked = {"contexts": CONTEXTS[:1], "out": file}
    first = phantom_dist.predict(MODEL, steps=2, **asked).predictions
    second = phantom_dist.predict(
        "zoo:llama-b", steps=3, method="lora", optimizer="adamw", **asked
    ).predictions
    assert phantom_dist.predict(MODEL, steps=2, **asked).predictions == first
    assert len(probed) == 2
    content = json.loads(file.read_text())
    assert content["predictions"] == [entry.to_json() for entry in (*first, *second)]
    assert [(p["model"], p["steps"]) for p in content["problems"]] == [(MODEL, 2), ("zoo:llama-b", 3)]


def test_a_file_of_another_law_or_model_is_refused_and_stays_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder("gpt2-a"), "m")
    law = read_law()
    other = dataclasses.replace(law, provenance={**law.provenance, "note": "another one"})
    write_law(other, "other.json")
    asked = {"model": "./m", "contexts": CONTEXTS[:1], "steps": 2, "out": "rates.json"}
    phantom_dist.predict(**asked)
    before = Path("rates.json").read_bytes()
    with pytest.raises(
        InputError, match=r"--out rates\.json: it holds predictions for law [0-9a-f]{64}.*; choose another"
    ):
        phantom_dist.predict(**asked | {"law": "other.json"})
    shutil.rmtree("m")
    shutil.copytree(folder("gpt2-b"), "m")
    with pytest.raises(
        InputError, match=r"it holds predictions for weights of \./m [0-9a-f]{64}, which differs"
    ):
        phantom_dist.predict(**asked)
    assert Path("rates.json").read_bytes() == before


SWEEP = {
    "name": "recipe",
    "models": [MODEL, "zoo:llama-b"],
    "contexts": [context.model_dump() for context in CONTEXTS[:2]],
    "methods": [
        {"full": {"optimizers": {"sgd": {"momentum": 0.9}}}},
        {"lora": {"rank": 16, "targets": "all-linear", "optimizers": {"adamw": {"weight_decay": 0.1}}}},
    ],
    "schedule": {"cosine": {"warmup_steps": 1}},
    "gradient_clipping": 1.0,
    "steps": [4, 6],
    "learning_rates": {"critical": {"tolerance": 0.01}},
}


def test_every_problem_of_a_sweep_is_predicted_and_an_interrupted_one_goes_on(probed, tmp_path):
    file, probed.stop_at = tmp_path / "rates.json", 11
    with pytest.raises(Interrupted, match="11 predictions are stored"):
        phantom_dist.predict_sweep(SWEEP, out=file)
    probed.stop_at = None
    result = phantom_dist.predict_sweep(SWEEP, out=file)
    assert len(probed) == len(result.predictions) == 2 * 2 * 2 * 2
    problems = expand(load_sweep(SWEEP))
    assert [(p.model, p.context, p.training_class, p.steps) for p in result.predictions] == [
        (p.model, p.context.id, f"{p.method} {p.optimizer.name}", p.steps) for p in problems
    ]
    assert all(p.eta_c is not None for p in result.predictions)
    assert set(result.lora) == {MODEL, "zoo:llama-b"}
    shown = str(result)
    assert "steps" in shown, "what differs has a column"
    assert "gradient_clipping" not in shown, "what is the same everywhere has none"


@pytest.fixture
def on_set(tmp_path) -> dict[str, Any]:
    data = tmp_path / "data.jsonl"
    data.write_text("\n".join(json.dumps({"prompt": c.text, "completion": c.target}) for c in CONTEXTS))
    return SWEEP | {"training": {"data": str(data), "batch_size": 2}}


def test_a_sweep_over_a_training_set_goes_on_too(on_set, tmp_path, monkeypatch):
    probed: list[int] = []

    def counted(loaded, problems, *more):
        probed.append(len(problems))
        return probe_on_set(loaded, problems, *more)

    monkeypatch.setattr(predicted_training, "probe_on_set", counted)
    file = tmp_path / "rates.json"
    first = phantom_dist.predict_sweep(on_set, out=file)
    trainings = 2 * 2 * 2
    assert probed == [2] * trainings, "all words of a training at once"
    assert len(first.trainings) == trainings
    assert phantom_dist.predict_sweep(on_set, out=file) == first
    assert len(probed) == trainings
    stored = json.loads(file.read_text())
    made = first.to_json()
    assert (stored["trainings"], stored["lora"]) == (made["trainings"], made["lora"])
    assert sorted(map(str, stored["predictions"])) == sorted(map(str, made["predictions"]))
    # A sample is drawn for all watched words, so a word is predicted anew among others.
    phantom_dist.predict_sweep(on_set | {"contexts": on_set["contexts"][:1]}, out=file)
    assert len(probed) == 2 * trainings


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "no JSON",
        '{"format": 3, "sets": [], "weights": {}, "problems": [{}], "predictions": []}',
    ],
)
def test_somebody_elses_file_is_not_overwritten(content, tmp_path):
    file = tmp_path / "thesis.json"
    file.write_text(content)
    with pytest.raises(
        InputError, match=r"thesis\.json: the file exists and holds no predictions of phantom-dist"
    ):
        phantom_dist.predict(MODEL, CONTEXTS[:1], out=file)
    assert file.read_text() == content


def test_a_place_that_can_hold_no_file_is_said_before_anything_is_predicted(probed, tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path, tmp_path / "file" / "x.json"):
        with pytest.raises(InputError, match="--out "):
            phantom_dist.predict(MODEL, CONTEXTS[:1], out=out)
    assert not probed


@pytest.mark.slow
@pytest.mark.parametrize("send", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_file_that_the_same_command_finishes(send, tmp_path):
    file = tmp_path / "rates.json"
    many = [c.model_dump() | {"id": f"{c.id}-{copy}"} for copy in range(24) for c in CONTEXTS]
    (tmp_path / "many.yaml").write_text(json.dumps(many))  # JSON is YAML; ten seconds or more of work
    model = ["--model", MODEL, "--contexts", str(tmp_path / "many.yaml"), "--method", "lora"]
    slow = ["--optimizer", "adamw", "--steps", "128", "--out", str(file), "--json"]
    command = [sys.executable, "-m", "phantom_dist", "predict", *model, *slow]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not (
            file.exists() and json.loads(file.read_text())["predictions"]
        ):
            time.sleep(0.05)
        process.send_signal(send)
        said, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "resume" not in errors
    assert json.loads(said)["error"].endswith(f"stored in {file}: the same command continues there")
    before = json.loads(file.read_text())["predictions"]
    assert 0 < len(before) < len(many)
    again = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(again.stdout)["predictions"][: len(before)] == before
    assert len(json.loads(again.stdout)["predictions"]) == len(many)
