"""The zoo's sweep through Ray: every architecture, every fourth of its contexts, three ways of training."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from phantom_dist.models.zoo import names
from phantom_dist.spec import expand, load, to_yaml
from phantom_dist.traces import directory_and_sweep

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    out, file = folder / "zoo", folder / "sweep.yaml"
    spec = load(ROOT / "sweeps/zoo.yaml")
    file.write_text(to_yaml(spec.model_copy(update={"contexts": spec.contexts[::4]})))
    command = [sys.executable, "-m", "phantom_dist", "run", str(file), "--out", str(out), "--json"]
    done = subprocess.run(
        [*command, "--address", "local"],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout) | {"out": out, "problems": len(expand(load(file)))}


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_every_problem_ends_in_a_bracket_or_a_reason(result):
    entries = result["critical_rates"]
    assert len(entries) == result["problems"] == 14 * 4 * 3
    assert {e["model"] for e in entries} == {f"zoo:{name}" for name in names()}
    for entry in entries:
        if entry["eta_c"] is None:
            assert entry["reason"] in {
                "kappa_not_positive",
                "no_crossing_found",
                "diverges_before_crossing",
            }, entry
        else:
            low, high = entry["bracket"]
            assert low <= entry["eta_c"] <= high <= low * 1.01
    # Full SGD is the reference case: nearly every context has its crossing.
    full = [e for e in entries if e["method"] == "full" and e["optimizer"] == "sgd"]
    assert sum(e["eta_c"] is not None for e in full) >= 0.9 * len(full)


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_no_trial_failed_and_every_step_is_there(result):
    assert result["state"] == "complete"
    assert result["trials"]["failed"] == 0
    directory, _ = directory_and_sweep(result["out"])
    trials = directory.trials()
    steps = sum(taken + 1 for taken in trials["steps_taken"].to_pylist() if taken is not None)
    assert directory.traces().num_rows == steps
    assert len(set(trials["trial_id"].to_pylist())) == trials.num_rows


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_lora_never_moves_the_readout(result):
    directory, _ = directory_and_sweep(result["out"])
    lora = {r["trial_id"] for r in directory.trials().to_pylist() if r["method"] == "lora"}
    hashes: dict[str, set[str]] = {}
    for row in directory.traces(sorted(lora)).to_pylist():
        hashes.setdefault(row["trial_id"], set()).add(row["readout_hash"])
        assert row["geometry_change"] in (0.0, None)
        assert row["embedding_drift"] == 0.0
    assert hashes
    assert all(len(seen) == 1 for seen in hashes.values())
