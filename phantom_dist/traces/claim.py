"""One driver at a time: who may write into a run directory.

On a local file system a lock that the kernel drops with its process; elsewhere the driver's heartbeat.
"""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

from phantom_dist.core.errors import InputError
from phantom_dist.traces.run_directory import Row, RunDirectory

SILENCE_S = 30.0
"""A driver that has not been heard of for so long is taken for dead."""


@contextmanager
def claim(directory: RunDirectory) -> Iterator[None]:
    """Hold the directory for writing.

    Raises:
        InputError: another driver holds it; the message names its process and host.
    """
    state = directory.read_state()
    holder = f"process {state.get('pid', 'unknown')} on {state.get('host', 'another host')}"
    busy = InputError(
        f"{directory.store.location}: another run is writing here ({holder}). "
        f"Wait for it, stop it, or choose another --out."
    )
    folder = directory.store.local_path
    if folder is None:
        if alive(state):
            raise busy
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / ".lock", os.O_CREAT | os.O_RDWR)
    except OSError as error:
        raise InputError(f"--out {directory.store.location}: can't be written: {error.strerror}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise busy from None
    try:
        yield
    finally:
        os.close(lock)


def alive(state: Row) -> bool:
    """True if the driver that wrote this heartbeat still runs, as far as can be told from here."""
    if state.get("state") != "running" or time.time() - state.get("heartbeat_at", 0.0) > SILENCE_S:
        return False
    return state.get("host") != socket.gethostname() or _process_exists(int(state.get("pid", 0)))


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
