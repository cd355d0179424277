"""Checks folders: free space and write permission, also of Ray's temporary folder and shared memory."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from phantom_dist.machine.check import GIBIBYTE, Check, check, warned

SHARED_MEMORY = Path("/dev/shm")
MIN_SHARED = 256 * 2**20
"""Bytes. Ray's object store needs at least 75 MiB; containers have 64 MiB of shared memory by default."""

RAY_STOPS_AT = 0.95
"""Ray schedules no more work on a machine whose disk is fuller than this."""


def disk() -> Check:
    """Free space in the working folder."""
    free = shutil.disk_usage(Path.cwd()).free / GIBIBYTE
    return check("free disk here", free >= 1, f"{free:.1f} GiB", remedy="free at least 1 GiB")


def temporary_folder() -> Check:
    """Whether Ray's folder for files and sockets has a short enough path, is writable and has free space."""
    from phantom_dist.scheduling import ray_place

    name, folder = "Ray's temporary folder", Path(ray_place.temporary_folder())
    if wrong := ray_place.too_long(process=_max_process_id()):
        return check(name, False, f"{folder} is too long", remedy=wrong)
    if wrong := why_not_writable(folder):
        return check(name, False, f"{folder}: {wrong}", remedy="set RAY_TMPDIR to a writable folder")
    usage = shutil.disk_usage(existing(folder))
    full = usage.used / (usage.used + usage.free)
    if full > RAY_STOPS_AT or usage.free < GIBIBYTE:
        remedy = f"Ray stops at {RAY_STOPS_AT:.0%}: free space there, or set RAY_TMPDIR to another folder"
        return check(
            name, False, f"{folder}: {full:.0%} full, {usage.free / GIBIBYTE:.1f} GiB free", remedy=remedy
        )
    return check(name, True, f"{folder}, {usage.free / GIBIBYTE:.1f} GiB free")


def shared_memory() -> Check:
    """Free shared memory, for Ray's object store."""
    try:
        free = shutil.disk_usage(SHARED_MEMORY).free
    except OSError as error:
        return warned(
            "shared memory", False, f"{SHARED_MEMORY}: {error.strerror}", "Ray uses its temporary folder"
        )
    return warned(
        "shared memory",
        free >= MIN_SHARED,
        f"{free / 2**20:.0f} MiB free in {SHARED_MEMORY}",
        "Ray's object store uses its temporary folder instead, which is slower: docker run --shm-size=1g",
    )


def cache() -> Check:
    """Whether the folder of converted models is writable and has space for one."""
    from phantom_dist.models.cache import cache_folder

    name, folder = "cache of models", cache_folder()
    if wrong := why_not_writable(folder):
        return check(name, False, f"{folder}: {wrong}", remedy="set PHANTOM_DIST_CACHE to a writable folder")
    free = shutil.disk_usage(existing(folder)).free / GIBIBYTE
    remedy = (
        "a converted model of 135 M parameters takes half a GiB: set PHANTOM_DIST_CACHE to another folder"
    )
    return check(name, free >= 1, f"{folder}, {free:.1f} GiB free", remedy=remedy)


def existing(folder: Path) -> Path:
    """The folder, or its nearest ancestor that exists."""
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())


def why_not_writable(folder: Path) -> str:
    """Why no file can be created in a folder (or its nearest existing ancestor); empty if one can. Leaves no file."""
    try:
        with tempfile.TemporaryFile(dir=existing(folder)) as file:
            file.write(b"x")
            file.flush()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _max_process_id() -> int:
    """The largest process id: Ray puts the id of its process into its paths."""
    limit = Path("/proc/sys/kernel/pid_max")
    return int(limit.read_text()) if limit.is_file() else os.getpid()
