"""Real Ray clusters on this machine whose processes, nodes and hosts are hit while a run goes on."""

from __future__ import annotations

import json

import pytest

from phantom_dist.traces import RunDirectory, Store
from tests.chaos.cluster import Cluster
from tests.chaos.explained import unexplained
from tests.chaos.hosts import Hosts
from tests.chaos.partition import cut_off
from tests.chaos.storm import Storm
from tests.chaos.sweep import WHOLE, judge, sweep

pytestmark = [pytest.mark.slow, pytest.mark.ray]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sweep.yaml").write_text(json.dumps(sweep()))
    return tmp_path


def test_a_run_whose_workers_nodes_driver_and_head_are_killed_and_stopped(folder, undisturbed):
    assert RunDirectory(Store(undisturbed)).trials().num_rows >= 200
    storm = Storm(folder, folder / "sweep.yaml", nodes=2, seed=0)
    out = storm.through("run", kills=8, say=print)
    assert storm.toll.kills >= 4, "a quick machine is through before all eight"
    assert judge(out, undisturbed) == WHOLE
    assert storm.toll.hits
    assert unexplained(out, storm.toll.hits) == []


def test_a_host_that_is_cut_off_and_comes_back(folder, undisturbed):
    try:
        hosts = Hosts(("head", "node-0", "node-1"))
    except OSError as error:
        pytest.skip(f"hosts of network namespaces can't be made here: {error}")
    try:
        assert judge(cut_off(hosts, folder, print), undisturbed) == WHOLE
    finally:
        hosts.close()


def test_four_workers_on_four_nodes_give_the_digest_of_one(folder, undisturbed):
    """Two are compared with one in tests/campaign/test_run.py."""
    cluster = Cluster(folder, {}, nodes=4)
    try:
        cluster.start()
        out = folder / "run"
        arguments = ["run", str(folder / "sweep.yaml"), "--out", str(out), "--workers", "4"]
        assert cluster.driver(arguments, folder / "driver.log").wait(300) == 0
        assert RunDirectory(Store(out)).read_state()["workers"] == 4
        assert judge(out, undisturbed) == WHOLE
    finally:
        cluster.end()
