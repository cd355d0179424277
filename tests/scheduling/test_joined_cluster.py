"""A run that joins a cluster it didn't start: two raylets of `clusters/local.sh`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import phantom_dist
from phantom_dist.traces import RunDirectory, Store
from phantom_dist.traces.digest import results_digest
from tests.servers.ports import free_ports

pytestmark = [pytest.mark.ray, pytest.mark.alone]

ROOT = Path(__file__).parents[2]
SWEEP = """
name: joined
models: zoo:gpt2-a
contexts: contexts.yaml
learning_rates: {critical: {tolerance: 0.05}}
steps: [2, 128]  # the long ones last until the second worker is there
"""


@pytest.fixture
def cluster(tmp_path):
    """The cluster's address and the environment to join it with."""
    (port,) = free_ports(1)
    bin_folder = str(Path(sys.executable).parent)
    environment = os.environ | {
        "PORT": str(port),
        "STATE": str(tmp_path / "cluster"),
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "RAY_AUTH_MODE": "token",
    }
    script = str(ROOT / "clusters/local.sh")
    try:
        subprocess.run([script, "start", "1"], env=environment, check=True, timeout=180, capture_output=True)
        yield f"127.0.0.1:{port}", environment
    finally:
        subprocess.run([script, "stop"], env=environment, check=True, timeout=120, capture_output=True)


@pytest.mark.slow
def test_a_run_uses_both_nodes_of_a_cluster_and_leaves_it_running(cluster, tmp_path):
    address, environment = cluster
    contexts = (ROOT / "sweeps/contexts/zoo.yaml").read_text()
    (tmp_path / "contexts.yaml").write_text(contexts)
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    command = [sys.executable, "-m", "phantom_dist", "run", str(tmp_path / "sweep.yaml"), "--json"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "joined"), "--address", address],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout)
    assert (result["state"], result["workers"]) == ("complete", 2)
    alive = subprocess.run(
        ["ray", "status", "--address", address], env=environment, capture_output=True, timeout=60
    )
    assert alive.returncode == 0, "the cluster is the user's own and goes on"
    phantom_dist.run(tmp_path / "sweep.yaml", tmp_path / "alone", executor="inprocess")
    digests = {results_digest(RunDirectory(Store(tmp_path / run))) for run in ("joined", "alone")}
    assert len(digests) == 1
