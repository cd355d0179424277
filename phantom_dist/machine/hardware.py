"""Processors, accelerators, memory, and how much of them a container may use; limits of the operating system."""

from __future__ import annotations

import os
import platform
import resource

from phantom_dist.machine import container
from phantom_dist.machine.check import GIBIBYTE, Check, check, warned

RAY_RAISES_TO = 65536
RAY_WANTS_FILES = 4096
"""Ray raises the limit of open files to the hard one, up to 65,536, and warns of connection errors below 4,096."""

ARCHIVE_OPENS = 600
"""`archive pack` cuts large tables into up to 512 files that are open at once."""


def processor() -> Check:
    """CPUs of this machine."""
    return check("processor", True, f"{len(os.sched_getaffinity(0))} CPUs, {platform.machine()}")


def cpu_quota() -> Check:
    """Whether the container may use the CPUs that it sees."""
    cpus, limit = len(os.sched_getaffinity(0)), container.cpu_limit()
    if limit is None:
        return warned("CPU quota", True, "none", "")
    return warned(
        "CPU quota",
        limit >= cpus,
        f"{limit:g} of the {cpus} CPUs that are seen",
        f"more workers than that wait for one another: --workers {max(1, int(limit))}, or raise the container's quota",
    )


def accelerator() -> Check:
    """GPUs that torch can use."""
    import torch

    if not torch.cuda.is_available():
        return check(
            "accelerator", False, "none that torch can use", needed=False, remedy="sweeps run on the CPU"
        )
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return check("accelerator", True, ", ".join(names))


def memory() -> Check:
    """Memory of the machine, or of the container where that is less."""
    usable = min(_total(), container.memory_limit() or _total()) / GIBIBYTE
    return check(
        "memory", usable >= 4, f"{usable:.1f} GiB", remedy="a 135 M model takes about 2.5 GiB per worker"
    )


def memory_limit() -> Check:
    """Whether a container's limit is below what the machine shows; who plans with the latter is killed."""
    total, limit = _total(), container.memory_limit()
    if limit is None or limit >= total:
        return warned("memory limit", True, "none below the machine's memory", "")
    return warned(
        "memory limit",
        False,
        f"{limit / GIBIBYTE:.1f} of the {total / GIBIBYTE:.1f} GiB that are seen",
        "a process that takes more is killed: `plan` says what a worker needs; lower --workers, or raise the limit",
    )


def open_files() -> Check:
    """How many files and connections a process may have open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for_ray = RAY_RAISES_TO if hard == resource.RLIM_INFINITY else max(soft, min(hard, RAY_RAISES_TO))
    enough = for_ray >= RAY_WANTS_FILES and (soft == resource.RLIM_INFINITY or soft >= ARCHIVE_OPENS)
    return warned(
        "open files",
        enough,
        f"{_count(soft)}, at most {_count(hard)}",
        f"Ray's connections break for want of {RAY_WANTS_FILES}, and `archive pack` opens up to {ARCHIVE_OPENS} files: "
        "ulimit -n 8192 (a hard limit is raised in /etc/security/limits.conf, or with docker run --ulimit nofile=8192)",
    )


def _count(limit: int) -> str:
    return "unlimited" if limit == resource.RLIM_INFINITY else str(limit)


def _total() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
