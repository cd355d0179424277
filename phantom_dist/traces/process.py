"""Whether the process that wrote a name down may still live, as far as can be told from this host."""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SILENCE_S = 30.0
"""A driver on another host that has not been heard of for so long is taken for dead."""


def this_process() -> dict[str, Any]:
    """What says who wrote something: `host`, `pid` and, where there are any, the name space that the pid is of."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "pid_namespace": _pid_namespace()}


@functools.cache
def _pid_namespace() -> str | None:
    """Containers may share a host's name and not its processes' numbers: this tells them apart, on Linux."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return None


def lives_here(holder: Mapping[str, Any]) -> bool | None:
    """Whether the process exists that `this_process` named; None where that can't be told from here."""
    if holder.get("host") != socket.gethostname():
        return None
    if holder.get("pid_namespace", _pid_namespace()) != _pid_namespace():
        return None
    try:
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    except (KeyError, ValueError):
        return None
    return True
