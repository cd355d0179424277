"""The limits of a container: memory and CPU limits of its control groups, version 2 or 1."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def memory_limit() -> int | None:
    """Bytes; None if there is no limit. The minimum over the process's group and its ancestors."""
    limits = []
    for folder in _groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):  # "max" is not a number
                limits.append(int((folder / name).read_text()))
    least = min(limits, default=None)
    return None if least is None or least >= 2**60 else least  # version 1 writes a huge number for "no limit"


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
