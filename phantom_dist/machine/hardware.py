"""Checks processors, accelerators, memory, how much of them a container may use, and limits of the operating system."""

from __future__ import annotations

import os
import platform
import resource

from phantom_dist.core import container
from phantom_dist.machine.check import GIBIBYTE, Check, check, warned

RAY_RAISES_TO = 65536
RAY_WANTS_FILES = 4096
"""Ray raises the soft limit of open files to the hard one, at most to 65,536, and warns below 4,096."""

ARCHIVE_OPENS = 600
"""`archive pack` cuts large tables into up to 512 files and keeps them all open."""


def processor() -> Check:
    """The CPUs that this process may use."""
    return check("processor", True, f"{len(os.sched_getaffinity(0))} CPUs, {platform.machine()}")


def cpu_quota() -> Check:
    """Whether the container may use all CPUs that it sees."""
    cpus, limit = len(os.sched_getaffinity(0)), container.cpu_limit()
    if limit is None:
        return warned("CPU quota", True, "none", "")
    return warned(
        "CPU quota",
        limit >= cpus,
        f"{limit:g} of the {cpus} visible CPUs",
        f"more workers than that would share CPUs: use --workers {max(1, int(limit))}, or raise the container's quota",
    )


def accelerator() -> Check:
    """The GPUs that torch can use."""
    import torch

    if not torch.cuda.is_available():
        return check(
            "accelerator", False, "none that torch can use", needed=False, remedy="sweeps run on the CPU"
        )
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return check("accelerator", True, ", ".join(names))


def memory() -> Check:
    """Memory of the machine, or of the container if that is less."""
    usable = container.memory_total() / GIBIBYTE
    return check(
        "memory", usable >= 4, f"{usable:.1f} GiB", remedy="a 135 M model takes about 2.5 GiB per worker"
    )


def memory_limit() -> Check:
    """Whether a container's limit is below the visible memory; a process that uses more than the limit is killed."""
    total, limit = container.machine_memory(), container.memory_limit()
    if limit is None or limit >= total:
        return warned("memory limit", True, "none below the machine's memory", "")
    return warned(
        "memory limit",
        False,
        f"{limit / GIBIBYTE:.1f} of the {total / GIBIBYTE:.1f} GiB that are visible",
        "a process that uses more is killed: `plan` shows what a worker needs; lower --workers, or raise the limit",
    )


def open_files() -> Check:
    """Whether a process may have enough files and connections open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for_ray = RAY_RAISES_TO if hard == resource.RLIM_INFINITY else max(soft, min(hard, RAY_RAISES_TO))
    enough = for_ray >= RAY_WANTS_FILES and (soft == resource.RLIM_INFINITY or soft >= ARCHIVE_OPENS)
    return warned(
        "open files",
        enough,
        f"{_count(soft)}, at most {_count(hard)}",
        f"Ray's connections fail below {RAY_WANTS_FILES}, and `archive pack` opens up to {ARCHIVE_OPENS} files: "
        "ulimit -n 8192 (a hard limit is raised in /etc/security/limits.conf, or with docker run --ulimit nofile=8192)",
    )


def _count(limit: int) -> str:
    return "unlimited" if limit == resource.RLIM_INFINITY else str(limit)
