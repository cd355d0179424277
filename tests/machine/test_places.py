"""`doctor` and folders: too long, not writable, full; shared memory; the clocks that stamp files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ray._private.utils import validate_socket_filepath

from phantom_dist.machine import clocks, places
from phantom_dist.machine.check import Check
from phantom_dist.scheduling import ray_place


def looked(command: str, name: str, where: Path, size: str) -> Check:
    """What a check says where a small file system is mounted, which nobody else sees."""
    look = (
        f"from phantom_dist.machine import places; import json; print(json.dumps(places.{name}().to_json()))"
    )
    script = f'mount -t tmpfs -o size={size} none {where} && {command} exec "$0" -c "$1"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, sys.executable, look],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    if "ermitted" in done.stderr or "denied" in done.stderr:
        pytest.skip(f"no file system may be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return Check(**json.loads(done.stdout))


def test_a_temporary_folder_too_long_for_sockets(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    long = tmp_path / ("x" * 80)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    found = places.temporary_folder()
    assert (found.ok, found.needed) == (False, True)
    for words in ("TMPDIR=", "RAY_TMPDIR", "107 bytes", str(long)):
        assert words in found.remedy
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")
    assert places.temporary_folder().ok, "RAY_TMPDIR goes before"
    assert list(long.iterdir()) == []


def test_the_limit_is_rays_own(monkeypatch):
    """At the length that the message allows Ray takes the path, and not with one byte more."""
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/" + "x" * 90)
    allowed = int(ray_place.too_long().split("has at most ")[1].split()[0])
    session = f"ray/session_2026-11-28_23-20-11_123456_{os.getpid()}/sockets/plasma_store"
    for length, fits in ((allowed, True), (allowed + 1, False)):
        folder = "/tmp/" + "x" * (length - len("/tmp/"))
        monkeypatch.setenv("RAY_TMPDIR", folder)
        assert (ray_place.too_long() == "") is fits
        if fits:
            validate_socket_filepath(f"{folder}/{session}")
        else:
            with pytest.raises(OSError, match="cannot exceed 107 bytes"):
                validate_socket_filepath(f"{folder}/{session}")


@pytest.mark.parametrize("name", ["temporary_folder", "cache"])
def test_a_folder_that_cannot_be_written(name, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    for folder in ("/proc", str(tmp_path / "file")):
        for variable in ("RAY_TMPDIR", "PHANTOM_DIST_CACHE"):
            monkeypatch.setenv(variable, folder)
        if name == "temporary_folder" and len(folder) > 30:
            continue
        found = getattr(places, name)()
        assert not found.ok, found
        assert "set RAY_TMPDIR" in found.remedy or "set PHANTOM_DIST_CACHE" in found.remedy


@pytest.mark.parametrize("name", ["temporary_folder", "cache"])
def test_a_folder_that_is_not_there_yet_is_looked_for_above(name, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/phd/none")
    monkeypatch.setenv("PHANTOM_DIST_CACHE", str(tmp_path / "a" / "b"))
    assert getattr(places, name)()["ok"]
    assert list(tmp_path.iterdir()) == []
    assert not Path("/tmp/phd").exists()


def test_a_disk_that_is_full():
    found = looked("RAY_TMPDIR=/mnt", "temporary_folder", Path("/mnt"), "2m")
    assert not found.ok
    assert "0.0 GiB free" in str(found.found)


def test_the_shared_memory_of_a_container():
    found = looked("", "shared_memory", places.SHARED_MEMORY, "64m")
    assert (found.ok, found.warning, found.needed) == (False, True, False)
    assert found.found == "64 MiB free in /dev/shm"
    assert "--shm-size" in str(found.remedy)
    assert looked("", "shared_memory", places.SHARED_MEMORY, "512m").ok


@pytest.mark.parametrize("ahead", [-3600.0, 3600.0])
def test_a_clock_that_differs_from_the_file_systems(ahead, tmp_path, monkeypatch):
    assert clocks.file_clock(tmp_path).ok
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + ahead)
    found = clocks.file_clock(tmp_path)
    assert found.warning
    assert found.found.startswith(("3599", "3600"))
    assert list(tmp_path.iterdir()) == []


def test_a_clock_that_jumps_or_is_years_behind(monkeypatch):
    assert clocks.clock().ok
    real = time.time
    with monkeypatch.context() as patched:
        patched.setattr(time, "time", lambda: real() - 400 * 86400)
        assert "days before this package's own files" in clocks.clock().found
    moments = iter([0.0, 30.0, 30.0, 30.0])
    monkeypatch.setattr(time, "time", lambda: real() + next(moments))
    assert "has jumped by +30" in clocks.clock().found
