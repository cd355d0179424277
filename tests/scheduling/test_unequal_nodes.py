"""A cluster whose machines have unequal memory: each worker plans with its own machine's share."""

from __future__ import annotations

import pytest
import ray

from phantom_dist.scheduling import ray_cluster
from phantom_dist.scheduling.ray_cluster import RayCluster
from phantom_dist.scheduling.worker_kind import WorkerKind


def node(name: str, alive: bool = True, **resources: float) -> dict:
    """A node as `ray.nodes()` describes it."""
    return {"NodeID": name, "Alive": alive, "Resources": resources}


@pytest.fixture
def cluster_of(monkeypatch):
    def made(*nodes: dict) -> RayCluster:
        monkeypatch.setattr(ray, "is_initialized", lambda: True)
        monkeypatch.setattr(ray, "nodes", lambda: list(nodes))
        return RayCluster("10.0.0.1:6379")

    return made


def test_each_worker_plans_with_its_own_machines_memory(cluster_of):
    cluster = cluster_of(
        node("small", CPU=2, memory=2e9),
        node("large", CPU=4, memory=64e9),
        node("like it", CPU=2, memory=33e9),
        node("gone", alive=False, CPU=64, memory=1e12),
        node("too small for a worker", CPU=1, memory=8e9),
    )
    assert cluster.worker_kinds("cpu", 2) == (
        WorkerKind(count=1, memory_bytes=2e9),
        WorkerKind(count=3, memory_bytes=32e9),
    )
    assert [cluster.memory_of(name, "cpu", 2) for name in ("small", "large", "like it")] == [2e9, 32e9, 33e9]


def test_workers_that_join_together_are_looked_up_at_once(cluster_of, monkeypatch):
    cluster, nodes, calls = cluster_of(), [node("first", CPU=2, memory=2e9)], []
    monkeypatch.setattr(ray, "nodes", lambda: calls.append(len(nodes)) or list(nodes))
    assert [cluster.memory_of("first", "cpu", 2) for _ in range(3)] == [2e9] * 3
    assert calls == [1]
    nodes.append(node("second", CPU=4, memory=8e9))
    assert [cluster.memory_of(name, "cpu", 2) for name in ("second", "first")] == [4e9, 2e9]
    assert calls == [1, 2], "a node that joined since is looked up anew"
    assert cluster.memory_of("first", "cpu", 1) == 1e9, "so are other settings"
    monkeypatch.setattr(ray_cluster, "REMEMBERED_S", 0.0)
    cluster.memory_of("first", "cpu", 1)
    assert calls == [1, 2, 2, 2]


def test_where_there_are_gpus_machines_without_train_nothing(cluster_of, monkeypatch):
    """Ray doesn't know a GPU's memory; one node for each kind of GPU measures it, once."""
    asked = []

    def gpu_bytes(self, name, resources):
        kind = next(key for key in resources if key.startswith("accelerator_type:"))
        asked.append((name, kind))
        return {"accelerator_type:L4": 24e9, "accelerator_type:H100": 80e9}[kind]

    monkeypatch.setattr(RayCluster, "gpu_bytes_of", gpu_bytes)
    cluster = cluster_of(
        node("cpu", CPU=64, memory=512e9),
        node("a", CPU=8, GPU=2, memory=64e9, **{"accelerator_type:L4": 1}),
        node("b", CPU=8, GPU=8, memory=64e9, **{"accelerator_type:H100": 1}),
    )
    assert cluster.worker_kinds("auto", 1) == (
        WorkerKind(count=2, memory_bytes=24e9, on_gpu=True),
        WorkerKind(count=8, memory_bytes=80e9, on_gpu=True),
    )
    assert cluster.worker_kinds("cpu", 8) == (WorkerKind(count=10, memory_bytes=64e9),)
