"""Both executors pass the same suite; Ray's must survive the death of a worker as well."""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace

import pytest
import ray
import torch
from ray._private import services
from ray.exceptions import ActorUnschedulableError, ObjectLostError, OwnerDiedError, RuntimeEnvSetupError

from phantom_dist.core.errors import InputError
from phantom_dist.scheduling import ray_executor
from phantom_dist.scheduling.inprocess import ThisProcess
from phantom_dist.scheduling.messages import Done, Lost, Start
from phantom_dist.scheduling.ray_cluster import RayCluster
from phantom_dist.scheduling.ray_executor import MAX_FAILED_STARTS, RayExecutor
from phantom_dist.scheduling.tasks import probe_task

from .conformance import ExecutorConformance, next_event, problem

pytestmark = pytest.mark.ray


class TestInProcess(ExecutorConformance):
    @staticmethod
    def cluster():
        return ThisProcess()


class TestRay(ExecutorConformance):
    workers = 2

    @staticmethod
    def cluster():
        return RayCluster("local")

    def test_has_the_workers_that_were_asked_for(self, executor):
        assert set(executor.workers) == {"worker-0", "worker-1"}

    def test_threads_are_set_in_the_actors(self, executor):
        actor = executor._actors["worker-0"]
        assert ray.get(actor.__ray_call__.remote(lambda worker: torch.get_num_threads())) == 1
        assert ray.get(actor.__ray_call__.remote(lambda worker: os.environ["OMP_NUM_THREADS"])) == "1"

    def test_a_killed_worker_is_lost_and_its_place_is_filled_again(self, executor):
        actor = executor._actors["worker-1"]
        pid = ray.get(actor.__ray_call__.remote(lambda worker: os.getpid()))
        executor.start(Start("worker-1", probe_task([problem()]), 1, 97))
        os.kill(pid, signal.SIGKILL)
        finished = next_event(executor)
        assert finished.event == Lost("worker-1", 97, finished.event.message)
        executor.replace("worker-1")
        assert executor.workers == ("worker-0",), "it is away until it is ready"
        assert next_event(executor).worker == "worker-1"
        executor.start(Start("worker-1", probe_task([problem()]), 2, 98))
        assert isinstance(next_event(executor).event, Done)

    def test_a_stopped_worker_never_reports(self, executor):
        """After a `Replace` the process ends, its successor works, and the end of the old task isn't reported."""
        actor = executor._actors["worker-0"]
        pid = ray.get(actor.__ray_call__.remote(lambda worker: os.getpid()))
        os.kill(pid, signal.SIGSTOP)
        executor.start(Start("worker-0", probe_task([problem()]), 1, 95))
        executor.replace("worker-0")
        assert next_event(executor).worker == "worker-0"
        executor.start(Start("worker-0", probe_task([problem()]), 1, 96))
        assert next_event(executor).event == Done("worker-0", 96)
        assert executor.wait(1.0) is None


@pytest.mark.parametrize("address", ["auto", "ray://127.0.0.1:9"])
def test_no_cluster_at_the_address_is_one_clear_message(address, tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))  # whatever cluster runs here, it left no trace there,
    monkeypatch.setattr(
        services, "_find_address_from_flag", lambda flag: set()
    )  # and its processes aren't seen
    with pytest.raises(
        InputError, match=rf"--address {address}: no Ray cluster could be joined there .*Allowed: `local`"
    ):
        RayCluster(address)


class Broken:
    """An executor whose actors never start; Ray's error is given."""

    def __init__(self, monkeypatch, error):
        self.executor = executor = object.__new__(RayExecutor)
        executor._starting, executor._running, executor._actors = {}, {}, {"worker-0": None}
        executor._nodes, executor._failed_starts, executor._settings = {}, 0, SimpleNamespace(group=None)
        self.replaced = []

        def no_answer(ref):
            raise error

        monkeypatch.setattr(ray, "get", no_answer)
        monkeypatch.setattr(ray_executor, "node_is_alive", lambda node: True)
        monkeypatch.setattr(RayExecutor, "replace", lambda self, worker: outer.replaced.append(worker))
        outer = self

    def fails_to_start(self):
        self.executor._starting["ref"] = "worker-0"
        assert self.executor._started("ref") is None


@pytest.mark.parametrize("error", [RuntimeEnvSetupError("no pip"), ActorUnschedulableError("no room")])
def test_one_bad_node_ends_no_run_that_others_work_on(monkeypatch, error):
    broken = Broken(monkeypatch, error)
    broken.executor._nodes["worker-1"] = "a good node"
    for _ in range(3 * MAX_FAILED_STARTS):
        broken.fails_to_start()
    assert len(broken.replaced) == MAX_FAILED_STARTS - 1, "after that nobody else is sent there"
    broken.executor._nodes.clear()
    with pytest.raises(InputError, match="workers don't start"):
        broken.fails_to_start()


@pytest.mark.parametrize("kind", [ObjectLostError, OwnerDiedError])
def test_an_answer_that_is_lost_with_its_node_is_a_lost_worker(monkeypatch, kind):
    broken = Broken(monkeypatch, kind("00" * 28, "owner", "call"))
    broken.executor._nodes["worker-0"] = "node"
    broken.executor._running["ref"] = Start("worker-0", probe_task([problem()]), 1, 5)
    finished = broken.executor._finished("ref")
    assert finished.event == Lost("worker-0", 5, finished.event.message)
