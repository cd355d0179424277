"""What the monitor logs through transformers reaches MLflow and W&B; both are read back from what they stored."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch

from phantom_dist.traces.monitor_log import open_monitor_log
from tests.environments import python_of

ROOT = Path(__file__).parents[2]
RUN = """
import runpy, sys
sys.path.append(sys.argv.pop(1))
runpy.run_module("tests.monitor.trackers", run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
def test_mlflow_and_wandb_get_the_looks(tmp_path):
    ours = Path(torch.__file__).parents[1]  # behind the environment's own packages
    command = [python_of("trackers"), "-c", RUN, ours, tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    kept = json.loads(done.stdout.splitlines()[-1])
    looks = [
        [row["step"], row["logit_gap"]]
        for row in open_monitor_log(tmp_path / "out" / "phantom_monitor.jsonl").looks
        if row["context"] == "rage"
    ]
    assert len(looks) == 7
    assert kept["mlflow"] == looks
    assert kept["wandb"] == looks
