"""The limits of a container: memory and CPU limits of its control groups, version 2 or 1; and free memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
MEMORY = Path("/proc/meminfo")

RESERVE = 0.08
"""Share of the memory that training leaves free. Ray kills workers once 95 % are used."""


def memory_limit() -> int | None:
    """Bytes; None if there is no limit. The minimum over the process's group and its ancestors."""
    return min((limit for _, limit in _limited_groups()), default=None)


def machine_memory() -> int:
    """Memory of the machine (bytes), whatever a container may use of it."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def memory_total() -> int:
    """Memory of the machine, or of the container where that is less (bytes)."""
    return min(machine_memory(), memory_limit() or machine_memory())


def memory_free() -> int:
    """Memory that processes here can still take, whoever uses the rest; files' pages that can be dropped are free."""
    return max(0, min([_available(), *(limit - _used(group) for group, limit in _limited_groups())]))


def _available() -> int:
    """The machine's free memory, files' pages that can be dropped included."""
    with suppress(OSError):  # only Linux has the file
        for line in MEMORY.read_text().splitlines():
            name, value, *_ = line.split()
            if name == "MemAvailable:":
                return 1024 * int(value)
    return memory_total()


def _limited_groups() -> Iterator[tuple[Path, int]]:
    """The groups that have a memory limit, and the limit in bytes."""
    for folder in _groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):  # "max" is not a number
                limit = int((folder / name).read_text())
                if limit < 2**60:  # version 1 writes a huge number for "no limit"
                    yield folder, limit


def _used(group: Path) -> int:
    """Bytes that a group's processes use, without pages of files that can be dropped; 0 where it doesn't say."""
    for name in ("memory.current", "memory.usage_in_bytes"):
        with suppress(OSError, ValueError):
            used = int((group / name).read_text())
            lines = (line.split() for line in (group / "memory.stat").read_text().splitlines())
            cached = next((int(value) for key, value in lines if key in _INACTIVE_FILES), 0)
            return used - cached
    return 0


_INACTIVE_FILES = ("inactive_file", "total_inactive_file")


def cpu_limit() -> float | None:
    """CPU time per wall time, in CPUs; None if there is no limit."""
    shares = []
    for folder in _groups("cpu"):
        with suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text().split()
            shares.append(int(quota) / int(period))
        with suppress(OSError, ValueError):
            quota_us = int((folder / "cpu.cfs_quota_us").read_text())
            if quota_us > 0:
                shares.append(quota_us / int((folder / "cpu.cfs_period_us").read_text()))
    return min(shares, default=None)


def _groups(controller: str) -> list[Path]:
    """The folders of the process's group and its ancestors; inside a container its own group is often the root."""
    groups: list[Path] = []
    lines = OWN.read_text().splitlines() if OWN.is_file() else []
    for line in [*lines, "0::/"]:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        bases = [ROOT / controllers, ROOT / controller] if controllers else [ROOT, ROOT / controller]
        for base in bases:
            own = base / path.lstrip("/")
            groups += [own, *(parent for parent in own.parents if base in (parent, *parent.parents))]
    return list(dict.fromkeys(groups))
