"""Both executors pass the same suite; Ray's must survive the death of a worker as well."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing

import pytest
import ray
import torch
from ray._private import services
from ray.exceptions import RayActorError

from phantom_dist.core.errors import InputError
from phantom_dist.scheduling import ray_cluster
from phantom_dist.scheduling.executor import WorkerSettings
from phantom_dist.scheduling.inprocess import ThisProcess
from phantom_dist.scheduling.messages import Done, Lost, Start
from phantom_dist.scheduling.ray_cluster import RayCluster
from phantom_dist.scheduling.tasks import probe_task
from phantom_dist.traces import Store
from phantom_dist.traces.leases import Leases

from .conformance import LEASES, ExecutorConformance, next_event, problem

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


@pytest.fixture
def settings(tmp_path) -> WorkerSettings:
    leases = Leases(Store(tmp_path))
    for number in LEASES:
        leases.grant(number)
    return WorkerSettings(location=str(tmp_path), driver=leases.driver)


def test_workers_that_were_started_early_are_used_and_the_rest_end(settings):
    """Two are started beside the planning, with the threads of the run; one turns out to be useful."""
    with RayCluster("local") as cluster:
        cluster.prepare("cpu", 1, 2)
        cluster.prepare("cpu", 1, 2)  # once is enough
        cluster.connect()
        early = [actor for _, actor in cluster._spares]
        assert len(early) == 2
        executor = cluster.executor(settings, workers=1, useful=1)
        with closing(executor):
            assert next_event(executor).worker == "worker-0"
            assert executor.actors_of("worker-0") == (early[0],)
            executor.start(Start("worker-0", probe_task([problem()]), 1, 97))
            assert next_event(executor).event == Done("worker-0", 97)
            with pytest.raises(RayActorError):
                ray.get(early[1].do.remote(None, 1, 1), timeout=60)
    assert not ray.is_initialized()


def test_a_cluster_that_was_begun_and_not_needed_ends():
    with RayCluster("local") as cluster:
        cluster.prepare("cpu", 1, 1)
    assert not ray.is_initialized()


def test_early_workers_of_other_settings_are_not_used(settings):
    with RayCluster("local") as cluster:
        cluster.prepare("cpu", 2, 1)
        with closing(cluster.executor(settings, workers=1, useful=1)) as executor:
            next_event(executor)
            assert cluster._spares == []
            actor = executor.actors_of("worker-0")[0]
            assert ray.get(actor.__ray_call__.remote(lambda worker: os.environ["OMP_NUM_THREADS"])) == "1"


SLOW_TO_END = """
import os, signal, time
from phantom_dist.cli.commands.app import interrupt
from phantom_dist.scheduling.ray_cluster import RayCluster

signal.signal(signal.SIGTERM, interrupt)
with RayCluster("local") as cluster:
    cluster.prepare("cpu", 1, 0)
    {wait}
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    except KeyboardInterrupt:
        time.sleep(4)  # Ray's own handler aborts the process after 3 s
print("ended")
"""


@pytest.mark.parametrize("wait", ["cluster.connect()", "cluster._begun.wait()"])
def test_sigterm_after_an_early_start_reaches_the_process_alone(wait):
    """Whether the main thread has waited for Ray or not yet: the handler has all the time that it needs."""
    command = [sys.executable, "-c", SLOW_TO_END.format(wait=wait)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout) == (0, "ended\n"), ended.stderr
    if "connect" in wait:
        assert "SIGTERM" not in ended.stderr


def test_what_goes_wrong_while_ray_begins_is_raised_where_it_is_needed(monkeypatch):
    def fails(address):
        raise InputError("no Ray today")

    monkeypatch.setattr(ray_cluster, "_init", fails)
    with RayCluster("local") as cluster:
        cluster.prepare("cpu", 1, 1)
        with pytest.raises(InputError, match="no Ray today"):
            cluster.connect()
