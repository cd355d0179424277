"""The command line as a user meets it: exit status, stdout, messages."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import phantom_dist
from phantom_dist.traces import RunDirectory, Store
from phantom_dist.traces.digest import results_digest
from tests import prepared

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]
SWEEP = """
name: small
models: zoo:gpt2-a
contexts: [{id: c, text: "After abandoning his oldest friend, he spoke openly of his"
  , target: " shame", competitor: " guilt"}]
learning_rates: [1e-3, 2e-3]
steps: 2
"""


def call(*arguments: str) -> subprocess.CompletedProcess[str]:
    return prepared.call(*arguments, cwd=ROOT, timeout=300)


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Path:
    file = tmp_path_factory.mktemp("sweeps") / "small.yaml"
    file.write_text(SWEEP)
    return file


@pytest.fixture(scope="module")
def finished(sweep, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "small"
    result = call("run", str(sweep), "--out", str(out), "--executor", "inprocess", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["state"] == "complete"
    return out


@pytest.mark.parametrize(
    "command", [["plan", "SWEEP"], ["status", "RUN"], ["doctor"], ["report", "RUN", "--out", "PAGE"]]
)
def test_json_is_one_object_and_nothing_else(command, sweep, finished, tmp_path):
    names = {"SWEEP": str(sweep), "RUN": str(finished), "PAGE": str(tmp_path / "page.html")}
    result = call(*(names.get(word, word) for word in command), "--json")
    assert result.returncode == 0, result.stderr
    assert isinstance(json.loads(result.stdout), dict)
    assert result.stdout.count("\n") == 1


def test_text_for_people_names_the_results(finished):
    result = call("status", str(finished))
    assert result.returncode == 0
    assert "run small: complete, 2 of 2 trials" in result.stdout
    assert "Traceback" not in result.stderr


def test_the_keys_of_the_contract(finished):
    result = json.loads(call("status", str(finished), "--json").stdout)
    assert {"run", "state", "trials", "outcomes", "critical_rates"} <= set(result)
    assert set(result["trials"]) == {"total", "done", "failed"}
    keys = """model architecture context target competitor method optimizer momentum weight_decay schedule lora_rank
        lora_alpha lora_targets steps seed precision eta_c bracket trials_used trial_steps_used gap_0 kappa pi_c
        reason"""
    assert set(keys.split()) <= set(result["critical_rates"][0])


def test_plan_writes_nothing(sweep, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    result = call("plan", str(sweep))
    assert result.returncode == 0
    assert "2 trials" in result.stdout
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("stpes: 8", "stpes"),
        ("steps: 0", "steps"),
        ("learning_rates: [0.1, -1]", "learning_rates"),
        ("learning_rates: [.nan]", "learning_rates"),
        ("models: zoo:gpt2-z", "gpt2-z"),
    ],
)
def test_wrong_input_is_one_message_and_status_2(line, message, tmp_path):
    key = line.split(":")[0]
    kept = [text for text in SWEEP.strip().splitlines() if not text.startswith(f"{key}:")]
    file = tmp_path / "wrong.yaml"
    file.write_text("\n".join([*kept, line]))
    result = call("run", str(file), "--out", str(tmp_path / "out"), "--json")
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert message in json.loads(result.stdout)["error"]
    assert not (tmp_path / "out").exists()


def test_a_missing_sweep_file_is_named(tmp_path):
    result = call("plan", str(tmp_path / "none.yaml"))
    assert result.returncode == 2
    assert "none.yaml" in result.stderr


def test_no_cluster_at_the_address(sweep, tmp_path):
    result = call("run", str(sweep), "--out", str(tmp_path / "out"), "--address", "ray://127.0.0.1:9")
    assert result.returncode == 2
    assert "--address ray://127.0.0.1:9: no Ray cluster could be joined there" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_unknown_command_or_option_is_status_2():
    assert call("rnu").returncode == 2
    assert call("plan", "x.yaml", "--jsn").returncode == 2


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> tuple[Path, Path]:
    """A sweep file of 160 trials in several batches, of which the first ends early, and the directory of its run."""
    folder = tmp_path_factory.mktemp("undisturbed")
    rates = "learning_rates: {log: [1e-4, 1e-2, 40]}"
    text = SWEEP.replace("learning_rates: [1e-3, 2e-3]", rates).replace("steps: 2", "steps: [2, 60, 61, 62]")
    (folder / "sweep.yaml").write_text(text)
    phantom_dist.run(folder / "sweep.yaml", folder / "whole", executor="inprocess")
    return folder / "sweep.yaml", folder / "whole"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "send"), [("inprocess", signal.SIGINT), ("ray", signal.SIGINT), ("ray", signal.SIGTERM)]
)
def test_ctrl_c_leaves_a_directory_that_resume_finishes(how, send, undisturbed, tmp_path):
    """SIGINT to the whole process group, as a terminal sends it, or SIGTERM to the driver, while trials are stored."""
    (file, whole), cut = undisturbed, tmp_path / "cut"
    command = [sys.executable, "-m", "phantom_dist", "run", str(file), "--out", str(cut), "--executor", how]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not list(cut.glob("trials/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, send) if send is signal.SIGINT else process.send_signal(send)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "phantom-dist resume" in errors
    assert "Traceback" not in errors
    state = phantom_dist.status(cut)
    assert state.state == "interrupted"
    assert 0 < state.trials.done < 160
    assert phantom_dist.resume(cut, executor="inprocess").state == "complete"
    digests = [results_digest(RunDirectory(Store(run))) for run in (whole, cut)]
    assert digests[0] == digests[1]
