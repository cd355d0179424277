"""Both executors pass the same suite; Ray's must survive the death of a worker as well."""

from __future__ import annotations

import os
import signal

import pytest
import ray
import torch
from ray._private import services

from phantom_dist.core.errors import InputError
from phantom_dist.scheduling.inprocess import ThisProcess
from phantom_dist.scheduling.messages import Done, Lost, Start
from phantom_dist.scheduling.ray_cluster import RayCluster
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
        actor = executor.actors_of("worker-0")[0]
        assert ray.get(actor.__ray_call__.remote(lambda worker: torch.get_num_threads())) == 1
        assert ray.get(actor.__ray_call__.remote(lambda worker: os.environ["OMP_NUM_THREADS"])) == "1"

    def test_a_killed_worker_is_lost_and_its_place_is_filled_again(self, executor):
        actor = executor.actors_of("worker-1")[0]
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
        actor = executor.actors_of("worker-0")[0]
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
