"""Ray's own rules decide where its files are and which cluster is joined; error messages say what helps."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from ray._private import services

from phantom_dist.core.errors import InputError
from phantom_dist.scheduling.ray_place import check_place
from tests.servers.ports import free_ports
from tests.servers.ray_head import ray_head

pytestmark = pytest.mark.ray

TORCHS = "TORCHINDUCTOR_CACHE_DIR"  # which torch sets for this process, and whose folder it makes as it is imported
CONTEXT = '{id: c, text: "He spoke openly of his", target: " shame", competitor: " guilt"}'
SWEEP = f"models: zoo:gpt2-a\ncontexts: [{CONTEXT}]\nlearning_rates: [1e-3]\nsteps: 2\n"


@pytest.fixture
def plain(monkeypatch, tmp_path):
    """No environment variable that Ray reads, and no other Ray on this machine."""
    for name in ("RAY_ADDRESS", "RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(services, "_find_address_from_flag", lambda flag: set())
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    return tmp_path


def run(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "s.yaml").write_text(SWEEP)
    command = [sys.executable, "-m", "phantom_dist", "run", "s.yaml", "--out", "out", "--json", *words]
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("RAY_ADDRESS", "RAY_TMPDIR", "RAY_AUTH_MODE", TORCHS)
    }
    return subprocess.run(
        command,
        cwd=folder,
        env=kept | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_temporary_folder_too_long_for_sockets_is_one_line_before_anything_is_begun(tmp_path):
    long = tmp_path / ("x" * 80)
    long.mkdir()
    done = run(tmp_path, TMPDIR=str(long))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line == f"phantom-dist: {json.loads(done.stdout)['error']}"
    for words in (f"TMPDIR={long}", "RAY_TMPDIR", "107 bytes"):
        assert words in line
    assert "--address" not in line, "none was given"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.yaml", long.name]
    assert list(long.iterdir()) == []


@pytest.mark.slow
def test_at_the_limit_ray_starts(tmp_path):
    """The message for a path that is one byte too long gives the allowed length."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="p") as short:
        script = (
            "import os, sys\nfrom phantom_dist.scheduling import ray_place, ray_cluster\n"
            "os.environ['RAY_TMPDIR'] = sys.argv[1] + '/' + 'x' * 80\n"
            "allowed = int(ray_place.too_long().split('has at most ')[1].split()[0])\n"
            "os.environ['RAY_TMPDIR'] = sys.argv[1] + '/' + 'x' * (allowed - len(sys.argv[1]) - 1)\n"
            "ray_cluster.RayCluster('local').connect()\nimport ray\nprint(len(ray.nodes()))\nray.shutdown()\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, short],
            capture_output=True,
            text=True,
            env=dict(os.environ),
            timeout=180,
        )
        assert done.stdout.split() == ["1"], done.stderr


@pytest.mark.slow
def test_a_ray_with_a_temporary_folder_of_its_own_is_joined(tmp_path):
    """`ray start` records its address below TMPDIR; from elsewhere Ray finds the cluster by its processes."""
    with ray_head(own_tmpdir=True) as head:
        token = {"RAY_AUTH_TOKEN": head.token}
        done = run(tmp_path, "--address", "auto", **token)
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert (result["state"], result["trials"]["done"]) == ("complete", 1)
        # To an address that is spelled out Ray takes no token along unless it is told to.
        (tmp_path / "other").mkdir()
        refused = run(tmp_path / "other", "--address", head.address, **token)
        assert refused.returncode == 2
        assert "is joined with RAY_AUTH_MODE=token" in json.loads(refused.stdout)["error"]


def test_the_variable_that_counts_is_named(plain, monkeypatch):
    monkeypatch.setenv("TMPDIR", "/tmp")
    monkeypatch.setenv("RAY_TMPDIR", str(plain / ("x" * 80)))
    with pytest.raises(InputError, match=rf"RAY_TMPDIR={plain}/x{{80}} is too long for Ray"):
        check_place("local")


def test_no_cluster_is_said_with_where_it_was_looked_for(plain):
    with pytest.raises(InputError) as error:
        check_place("auto")
    assert f"no Ray runs on this machine, and {plain}/ray/ray_current_cluster names none" in str(error.value)
    assert "`auto`" not in str(error.value), "what just failed is not advised"


def test_a_cluster_that_has_ended_is_named_with_its_address(plain, monkeypatch):
    (port,) = free_ports(1)
    (plain / "ray").mkdir()
    (plain / "ray" / "ray_current_cluster").write_text(f"127.0.0.1:{port}")
    with pytest.raises(
        InputError, match=rf"--address auto: no Ray .*\(127\.0\.0\.1:{port}: Connection refused\)"
    ):
        check_place("auto")
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    with pytest.raises(
        InputError, match=rf"^RAY_ADDRESS=127\.0\.0\.1:{port}: no Ray cluster could be joined there"
    ):
        check_place(f"127.0.0.1:{port}")
    monkeypatch.setenv("RAY_ADDRESS", "local")
    with pytest.raises(InputError, match="RAY_ADDRESS=local excludes it"):
        check_place("auto")


def test_auto_joins_the_recorded_cluster_if_it_runs_else_the_only_one_that_does(plain, monkeypatch):
    """A recorded cluster may have ended long ago; of several that run none is chosen by chance."""
    (ended,) = free_ports(1)
    running: set[str] = set()
    monkeypatch.setattr(services, "_find_address_from_flag", lambda flag: set(running))
    (plain / "ray").mkdir()
    noted = plain / "ray" / "ray_current_cluster"
    noted.write_text(f"127.0.0.1:{ended}")
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        first, second = (f"127.0.0.1:{server.getsockname()[1]}" for server in (one, two))
        running |= {first}
        assert check_place("auto") == first
        running |= {second}
        with pytest.raises(InputError) as error:
            check_place("auto")
        assert f"2 Rays run on this machine, {', '.join(sorted((first, second)))}" in str(error.value)
        assert "pass the address of one" in str(error.value)
        noted.write_text(second)
        assert check_place("auto") == second
        monkeypatch.setenv("RAY_ADDRESS", first)
        assert check_place("auto") == first


@pytest.mark.parametrize("address", ["head", "ray://head", "127.0.0.1:x", "127.0.0.1:99999999"])
def test_an_address_that_is_none(address, plain):
    with pytest.raises(InputError, match=rf"--address {address}: no Ray cluster could be joined there"):
        check_place(address)


def test_no_cluster_leaves_no_directory(tmp_path):
    done = run(tmp_path, "--address", "127.0.0.1:9")
    assert done.returncode == 2
    assert "--address 127.0.0.1:9: no Ray cluster could be joined there" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["s.yaml"]
