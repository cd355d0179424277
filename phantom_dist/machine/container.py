"""What a container may use of its machine: the limits of its control groups, version 2 or 1."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def memory_limit() -> int | None:
    """Bytes; None where there is no limit. The least of the process's group and those above it."""
    limits = []
    for folder in _groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):  # "max" is no number
                limits.append(int((folder / name).read_text()))
    least = min(limits, default=None)
    return None if least is None or least >= 2**60 else least  # version 1 says "no limit" with a huge number


def cpu_limit() -> float | None:
    """CPUs' worth of time per time; None where there is no limit."""
    shares = []
    for folder in _groups("cpu"):
        with suppress(OSError, ValueError):
            quota, period = (folder / "cpu.max").read_text().split()
            shares.append(int(quota) / int(period))
        with suppress(OSError, ValueError):
            of_group = int((folder / "cpu.cfs_quota_us").read_text())
            if of_group > 0:
                shares.append(of_group / int((folder / "cpu.cfs_period_us").read_text()))
    return min(shares, default=None)


def _groups(controller: str) -> list[Path]:
    """The folders of the process's group and of all above it; inside a container its own is often the root."""
    found: list[Path] = []
    lines = OWN.read_text().splitlines() if OWN.is_file() else []
    for line in [*lines, "0::/"]:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        bases = [ROOT / controllers, ROOT / controller] if controllers else [ROOT, ROOT / controller]
        for base in bases:
            own = base / path.lstrip("/")
            found += [own, *(above for above in own.parents if base in (above, *above.parents))]
    return list(dict.fromkeys(found))
