"""`doctor` and the network as Ray uses it: names, proxies, the token, clusters that are named or noted."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from ray._private import services

from phantom_dist.machine import clusters, doctor, network
from tests.servers.ports import free_ports

pytestmark = pytest.mark.ray


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A home without a token, and no variable of Ray."""
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_host_whose_name_has_no_address(monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "no-such-host.invalid")
    found = network.host_name()
    assert found.warning
    assert "/etc/hosts" in found.remedy
    monkeypatch.setattr(socket, "gethostname", lambda: "localhost")
    assert network.host_name().ok


@pytest.mark.parametrize("name", ["http_proxy", "HTTPS_PROXY", "all_proxy"])
def test_a_proxy_that_loopback_would_be_asked_through(name, monkeypatch):
    for other in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        for spelled in (other, other.upper()):
            monkeypatch.delenv(spelled, raising=False)
    assert network.proxies().ok
    monkeypatch.setenv(name, "http://proxy:3128")
    assert network.proxies().warning
    monkeypatch.setenv("no_proxy", "localhost")
    assert "also for 127.0.0.1" in network.proxies().found
    monkeypatch.setenv("no_proxy", "localhost,127.0.0.1")
    assert network.proxies().ok


def test_the_token(home, monkeypatch):
    assert network.token().ok, "Ray will make one"
    assert list(home.iterdir()) == []
    file = home / ".ray" / "auth_token"
    file.parent.mkdir()
    file.write_text("secret-of-this-test")
    file.chmod(0o644)
    open_to_all = network.token()
    assert open_to_all.warning
    assert "chmod 600" in open_to_all.remedy
    file.chmod(0o600)
    assert network.token().ok
    file.write_text("\n")
    assert "is empty" in network.token().found
    assert not network.token().ok
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(home / "none"))
    assert "no such file" in network.token().found
    monkeypatch.delenv("RAY_AUTH_TOKEN_PATH")
    monkeypatch.setenv("HOME", "/proc")
    assert not network.token().ok, "Ray could make none"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret-of-this-test")
    assert network.token().ok
    assert "secret" not in str(network.token())


def test_a_cluster_that_is_named_and_is_not_there(home, monkeypatch):
    (port,) = free_ports(1)
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    found = clusters.cluster()
    assert not found.ok
    assert found.remedy.startswith(f"RAY_ADDRESS=127.0.0.1:{port}: no Ray cluster could be joined there")
    assert found.remedy.endswith("Or unset RAY_ADDRESS.")
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert clusters.cluster().ok, "nothing is started to see whether it could be"


def test_a_cluster_that_was_noted_and_has_ended(home, monkeypatch):
    monkeypatch.setattr(services, "_find_address_from_flag", lambda flag: set())  # whatever else runs here
    monkeypatch.setenv("RAY_TMPDIR", str(home))
    assert clusters.running().found == "none"
    (port,) = free_ports(1)
    (home / "ray").mkdir()
    (home / "ray" / "ray_current_cluster").write_text(f"127.0.0.1:{port}")
    found = clusters.running()
    assert found.warning
    assert f"127.0.0.1:{port} is noted as running" in found.found
    assert f"remove {home}/ray/ray_current_cluster" in found.remedy


def test_of_several_that_run_here_it_is_said_which_is_joined(home, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        first, second = (f"127.0.0.1:{server.getsockname()[1]}" for server in (one, other))
        monkeypatch.setenv("RAY_TMPDIR", str(home))
        monkeypatch.setattr(services, "_find_address_from_flag", lambda flag: {first})
        assert first in clusters.running().found
        assert clusters.running().ok
        monkeypatch.setattr(services, "_find_address_from_flag", lambda flag: {first, second})
        (home / "ray").mkdir()
        (home / "ray" / "ray_current_cluster").write_text(second)
        found = clusters.running()
        assert found.warning
        assert second in found.found.split(";")[0]
        assert f"also here: {first}" in found.found


def test_the_whole_look_leaves_nothing_behind(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PHANTOM_DIST_CACHE", str(tmp_path / "cache"))
    result = doctor()
    assert list(tmp_path.iterdir()) == []
    names = [check.name for check in result.checks]
    assert len(names) == len(set(names))
    for name in (
        "Ray's temporary folder",
        "shared memory",
        "open files",
        "clock",
        "Ray's token",
        "open Ray ports",
    ):
        assert name in names
    for check in result.checks:
        assert {"name", "ok", "needed", "found", "remedy"} <= set(check)
        assert check.ok or check.remedy, check
    assert str(result).count("\n") == len(names) - 1, "a line for each"
