"""Identifies a process, and tells whether an identified process may still be alive, as far as this host can tell."""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SILENCE_S = 30.0
"""A driver on another host without a heartbeat for so long is considered dead."""


def this_process() -> dict[str, Any]:
    """The identity of this process: `host`, `pid` and, on Linux, `pid_namespace`."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "pid_namespace": _pid_namespace()}


@functools.cache
def _pid_namespace() -> str | None:
    """Distinguishes containers that share a host's name but not its process ids; None if not on Linux."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}"
    except OSError:
        return None


def lives_here(holder: Mapping[str, Any]) -> bool | None:
    """Whether the process that `this_process` identified exists; None if this host can't tell."""
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
