"""`clusters/slurm.sh`, sent to a real Slurm of two nodes, runs a sweep on both to its end."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import phantom_dist
from phantom_dist.traces import RunDirectory, Store
from phantom_dist.traces.digest import results_digest
from tests.clusters.slurm import slurm, why_not_here

pytestmark = [pytest.mark.ray, pytest.mark.alone]

ROOT = Path(__file__).parents[2]
SWEEP = """
name: tiny
models: zoo:gpt2-a
contexts: contexts.yaml
learning_rates: [1.0e-3, 2.0e-3]
steps: 2
"""


@pytest.mark.slow
@pytest.mark.skipif(bool(why_not_here()), reason=why_not_here() or "runs here")
def test_a_batch_job_runs_a_sweep_on_all_its_nodes(tmp_path):
    (tmp_path / "contexts.yaml").write_text((ROOT / "sweeps/contexts/zoo.yaml").read_text())
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    with slurm(tmp_path / "slurm") as cluster:
        environment = {"VENV": sys.prefix, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        job = ["--nodes=2", ROOT / "clusters/slurm.sh", "sweep.yaml", "--out", "run"]
        ended = cluster.batch(*job, env=environment, cwd=tmp_path)
        log = next(tmp_path.glob("phantom-dist-*.log")).read_text()
        assert "JobState=COMPLETED" in ended, log
    result = phantom_dist.status(tmp_path / "run")
    assert result.state == "complete", log
    assert "On worker node. Connecting to Ray cluster" in log, "the second machine has joined"
    phantom_dist.run(tmp_path / "sweep.yaml", tmp_path / "alone", executor="inprocess")
    digests = {results_digest(RunDirectory(Store(tmp_path / run))) for run in ("run", "alone")}
    assert len(digests) == 1
    secrets = [line for line in log.splitlines() if "RAY_AUTH_TOKEN" in line]
    assert not secrets, "the job's token is written nowhere"
