"""A cluster whose machines have unequal memory: each worker plans with its own machine's, and takes what fits it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.ray

SCRIPT = """
import json, sys
from ray.cluster_utils import Cluster

from phantom_dist.scheduling.executor import WorkerSettings
from phantom_dist.scheduling.ledger import Joined
from phantom_dist.scheduling.ray_cluster import RayCluster

here = {"num_cpus": 1, "node_ip_address": "127.0.0.1"}
nodes = Cluster(initialize_head=True, head_node_args=here | {"memory": 1e9, "include_dashboard": False})
for memory in (4.0e9, 4.1e9):
    nodes.add_node(**here, memory=memory)
nodes.wait_for_nodes()
with RayCluster(nodes.address) as cluster:
    kinds = cluster.worker_kinds("cpu", 1)
    executor = cluster.executor(WorkerSettings(location=sys.argv[1], driver="d"), None, 8)
    joined = []
    while len(joined) < 3:
        if isinstance(event := executor.wait(5.0), Joined):
            joined.append(event.memory_bytes)
    executor.close()
nodes.shutdown()
print(json.dumps([[(k.count, k.memory_bytes, k.on_gpu) for k in kinds], sorted(joined)]))
"""


@pytest.mark.slow
def test_each_worker_plans_with_its_own_machines_memory(tmp_path):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    kinds, joined = json.loads(done.stdout.splitlines()[-1])
    assert kinds == [[1, 1e9, False], [2, 4.0e9, False]], "4.0 and 4.1 GB are alike"
    assert joined == [1e9, 4.0e9, 4.1e9]
