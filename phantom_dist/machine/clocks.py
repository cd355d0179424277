"""Checks clocks. Heartbeats and leases compare the clocks of hosts; object stores refuse requests with wrong times."""

from __future__ import annotations

import datetime
import tempfile
import time
from pathlib import Path

from phantom_dist.machine.check import Check, warned
from phantom_dist.machine.places import existing

MAX_SKEW_S = 5.0
WATCHED_S = 0.2
MAX_JUMP_S = 0.05
DAY_S = 86400.0

REMEDY = "a live run may be taken for dead, and object stores refuse requests: synchronise the clock (chrony, ntpd)"


def clocks() -> list[Check]:
    """Check this machine's clock alone, and against the file systems of the working folder and the model cache."""
    from phantom_dist.models.cache import cache_folder

    return [clock(), *(file_clock(place) for place in dict.fromkeys((Path.cwd(), existing(cache_folder()))))]


def clock() -> Check:
    """Whether the clock advances steadily, and is not earlier than the installation of the package."""
    wall, steady = time.time(), time.monotonic()
    time.sleep(WATCHED_S)
    jump = (time.time() - wall) - (time.monotonic() - steady)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    if abs(jump) > MAX_JUMP_S:
        return warned("clock", False, f"{now}, has jumped by {jump:+.2f} s within {WATCHED_S:g} s", REMEDY)
    behind = Path(__file__).stat().st_mtime - time.time()
    if behind > DAY_S:
        return warned(
            "clock", False, f"{now}, {behind / DAY_S:.0f} days before this package's own files", REMEDY
        )
    return warned("clock", True, now, "")


def file_clock(folder: Path) -> Check:
    """How far the clock of a folder's file system (on a network share: the server's) is from this machine's."""
    name = f"clock of files in {folder}"
    try:
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            before = time.time()
            file.write(b"x")
            file.flush()
            stamped = Path(file.name).stat().st_mtime
            after = time.time()
    except OSError as error:
        return warned(name, False, f"unknown: {error.strerror or error}", "runs need a writable folder")
    skew = max(before - stamped, stamped - after, 0.0)
    return warned(name, skew <= MAX_SKEW_S, f"{skew:.1f} s from this machine's", REMEDY)
