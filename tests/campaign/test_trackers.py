"""`report_to`: trainings and words in each tracker, written by the real library, offline."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from phantom_dist.campaign import trackers
from phantom_dist.core.errors import InputError
from tests.engines.problems import CONTEXTS
from tests.environments import python_of

from .runs import rows, run

ROOT = Path(__file__).parents[2]
RUN = """
import runpy, sys
sys.path.append(sys.argv.pop(1))
runpy.run_module("tests.campaign.tracked", run_name="__main__", alter_sys=True)
"""
WATCHED = list(CONTEXTS.values())[:2]
RATES = [1e-4, 1e-3]


def sweep(tmp_path: Path, *names: str, **more: Any) -> dict[str, Any]:
    data = tmp_path / "words.jsonl"
    data.write_text(
        "".join(json.dumps({"prompt": c.text, "completion": c.target}) + "\n" for c in WATCHED * 2)
    )
    return {
        "name": "tracked",
        "models": ["zoo:gpt2-a"],
        "contexts": [c.model_dump() for c in WATCHED],
        "training": {"data": str(data), "batch_size": 2},
        "optimizers": ["adamw"],
        "steps": [4],
        "learning_rates": RATES,
        "execution": {"report_to": list(names)},
    } | more


def test_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run(sweep(tmp_path, "tensorboard"), tmp_path / "run")
    stored = rows(tmp_path / "run")
    trainings = {row["training_id"] for row in stored}
    folders = {folder.name: folder for folder in (tmp_path / "run" / "tensorboard").iterdir()}
    assert folders.keys() == trainings
    assert len(trainings) == len(RATES)
    for row in stored:
        events = EventAccumulator(str(folders[row["training_id"]]))
        events.Reload()
        gaps = events.Scalars(f"gap/{row['context']}")
        assert [event.step for event in gaps] == [0, 1, 2, 3, 4]
        assert gaps[-1].value == pytest.approx(row["gap_final"], rel=1e-6)
        assert [event.step for event in events.Scalars("training_loss")] == [0, 1, 2, 3]


@pytest.mark.slow
def test_mlflow_and_wandb_get_trainings_and_words(tmp_path: Path) -> None:
    """In an environment that has both; read back from what they stored."""
    (tmp_path / "sweep.json").write_text(json.dumps(sweep(tmp_path, "mlflow", "wandb")))
    ours = Path(torch.__file__).parents[1]  # behind the environment's own packages
    command = [python_of("trackers"), "-c", RUN, ours, tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    kept = json.loads(done.stdout.splitlines()[-1])
    stored = rows(tmp_path / "run")
    assert kept["wandb"].keys() == kept["mlflow"].keys() == {row["training_id"] for row in stored}
    for row in stored:
        for tracked in (kept["mlflow"][row["training_id"]], kept["wandb"][row["training_id"]]):
            assert float(tracked["learning_rate"]) == row["learning_rate"]
            assert tracked["optimizer"] == "adamw"
            assert tracked["outcomes"][row["context"]] == row["outcome"]
            gaps = tracked["gaps"][row["context"]]
            assert [step for step, _ in gaps] == [0, 1, 2, 3, 4]
            assert gaps[-1][1] == pytest.approx(row["gap_final"])


def test_a_tracker_that_fails_is_left_out_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Down:
        def __init__(self, directory: Any) -> None:
            pass

        def add(self, training: Any) -> None:
            raise ConnectionError("the server is down")

    monkeypatch.setitem(trackers.TRACKERS, "wandb", ("json", Down))
    with caplog.at_level("WARNING"):
        result = run(sweep(tmp_path, "wandb", "tensorboard"), tmp_path / "run")
    assert result.state == "complete"
    assert "report_to wandb: left out from here on: the server is down" in caplog.text
    assert (tmp_path / "run" / "tensorboard").is_dir()


def test_a_package_that_is_missing_is_named_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(trackers.TRACKERS, "mlflow", ("no_such_package", trackers.MlFlow))
    with pytest.raises(InputError, match="report_to: mlflow needs the package no_such_package"):
        run(sweep(tmp_path, "mlflow"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_without_a_training_set_each_trial_is_a_training_of_one_word(tmp_path: Path) -> None:
    own = sweep(tmp_path, "tensorboard")
    del own["training"]
    run(own, tmp_path / "run")
    names = {folder.name for folder in (tmp_path / "run" / "tensorboard").iterdir()}
    assert names == {row["trial_id"] for row in rows(tmp_path / "run")}
