"""`doctor` and limits: containers, open files, versions."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys

import pytest
from packaging.requirements import Requirement

from phantom_dist.core import container
from phantom_dist.machine import hardware, packages
from phantom_dist.machine.check import Check


@pytest.fixture
def group(tmp_path, monkeypatch):
    """A tree of control groups: give it the process's lines and the files."""

    def made(own: str, files: dict[str, str]) -> None:
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            file = tmp_path / "cgroup" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    monkeypatch.setattr(container, "ROOT", tmp_path / "cgroup")
    monkeypatch.setattr(container, "OWN", tmp_path / "own")
    return made


GIB = 2**30
V1_NONE = str(2**63 - 4096)


@pytest.mark.parametrize(
    ("own", "files", "memory", "cpus"),
    [
        ("0::/\n", {"memory.max": "max\n", "cpu.max": "max 100000\n"}, None, None),
        ("0::/\n", {"memory.max": f"{GIB}\n", "cpu.max": "150000 100000\n"}, GIB, 1.5),
        (
            "0::/a/b\n",
            {"a/memory.max": f"{GIB}", "a/b/memory.max": "max", "a/b/cpu.max": "50000 100000"},
            GIB,
            0.5,
        ),
        ("0::/gone/from/view\n", {"memory.max": f"{GIB}"}, GIB, None),
        (
            "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n",
            {
                "memory/docker/x/memory.limit_in_bytes": f"{GIB}",
                "cpu,cpuacct/docker/x/cpu.cfs_quota_us": "200000",
                "cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000",
            },
            GIB,
            2.0,
        ),
        (
            "5:memory:/docker/x\n4:cpu:/docker/x\n",
            {  # as seen from inside
                "memory/memory.limit_in_bytes": V1_NONE,
                "cpu/cpu.cfs_quota_us": "-1",
                "cpu/cpu.cfs_period_us": "100000",
            },
            None,
            None,
        ),
        ("", {}, None, None),
    ],
    ids=["none", "root", "nested", "out of view", "version 1", "version 1, none", "no groups"],
)
def test_what_a_container_may_use(own, files, memory, cpus, group, monkeypatch):
    group(own, files)
    assert (container.memory_limit(), container.cpu_limit()) == (memory, cpus)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    limit, quota = hardware.memory_limit(), hardware.cpu_quota()
    assert limit.warning == (memory is not None)
    assert quota.warning == (cpus is not None)
    if memory:
        assert limit.found.startswith("1.0 of the ")
        assert not hardware.memory().ok
    if cpus:
        assert quota.found == f"{cpus:g} of the 8 visible CPUs"
        assert f"--workers {max(1, int(cpus))}" in quota.remedy


@pytest.mark.parametrize(
    ("used", "cached", "available", "free"),
    [
        (6 * GIB, 2 * GIB, 100 * GIB, 4 * GIB),  # of a limit of 8: what isn't used, or can be dropped
        (6 * GIB, 2 * GIB, 3 * GIB, 3 * GIB),  # other programs have the rest of the machine
        (9 * GIB, 0, 100 * GIB, 0),
    ],
)
def test_free_memory_is_what_the_container_and_other_programs_leave(
    used, cached, available, free, group, tmp_path, monkeypatch
):
    group(
        "0::/a\n",
        {
            "a/memory.max": f"{8 * GIB}",
            "a/memory.current": f"{used}",
            "a/memory.stat": f"anon 1\ninactive_file {cached}\n",
        },
    )
    (tmp_path / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable:   {available // 1024} kB\n")
    monkeypatch.setattr(container, "MEMORY", tmp_path / "meminfo")
    assert container.memory_free() == free


@pytest.mark.parametrize(("soft", "hard", "ok"), [(256, 1024, False), (256, 8192, False), (1024, 8192, True)])
def test_the_limit_of_open_files(soft, hard, ok):
    look = (
        "import json; from phantom_dist.machine import hardware; "
        "print(json.dumps(hardware.open_files().to_json()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", look],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)),
    )
    found = Check(**json.loads(done.stdout))
    assert (found.ok, found.found) == (ok, f"{soft}, at most {hard}")
    assert ok or "ulimit -n 8192" in found.remedy


@pytest.mark.parametrize(
    ("text", "ok", "found"),
    [
        ("numpy>=1", True, ""),
        ("numpy<1", False, ", should be <1"),
        ("no-such-package-of-anybody>=2", False, "not installed"),
    ],
)
def test_a_package_outside_its_range(text, ok, found):
    entry = packages.dependency(Requirement(text))
    assert entry.ok is ok
    assert found in entry.found
    assert ok or f"pip install '{text}'" in entry.remedy


def test_every_dependency_is_looked_at():
    names = {requirement.name for requirement in packages.dependencies()}
    assert set(packages.NEEDED) <= names
    assert "pytest" not in names, "what only development needs is none"
