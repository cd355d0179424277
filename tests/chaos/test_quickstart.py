"""The quickstart's driver is killed in the middle; `phantom-dist resume` ends at the same critical rates."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from phantom_dist.spec import load, to_yaml

pytestmark = [pytest.mark.ray, pytest.mark.alone]  # two workers on two cores

SWEEP = Path(__file__).parents[2] / "sweeps/quickstart.yaml"


def driver(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "phantom_dist", *map(str, arguments), "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def rates(process: subprocess.Popen[str]) -> list[tuple[object, ...]]:
    said = json.loads(process.communicate(timeout=500)[0])
    assert said["state"] == "complete"
    return [(r["context"], r["method"], r["eta_c"], r["bracket"]) for r in said["critical_rates"]]


@pytest.mark.slow
def test_a_driver_killed_in_the_middle_of_the_quickstart_is_resumed_to_the_same_rates(tmp_path):
    """With the first two of its contexts."""
    sweep, spec = tmp_path / "quickstart.yaml", load(SWEEP)
    sweep.write_text(to_yaml(spec.model_copy(update={"contexts": spec.contexts[:2]})))
    undisturbed = rates(driver("run", sweep, "--out", tmp_path / "undisturbed"))
    killed = driver("run", sweep, "--out", tmp_path / "run")
    until = time.monotonic() + 400
    while not list((tmp_path / "run").glob("trials/*.parquet")):
        assert time.monotonic() < until
        assert killed.poll() is None
        time.sleep(0.1)
    killed.kill()
    killed.communicate()
    assert rates(driver("resume", tmp_path / "run")) == undisturbed
