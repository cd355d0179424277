"""Ensures that only one driver at a time writes into a run directory.

On a local file system through a file lock, which the kernel releases when the process ends; in an object store through
a claim (`object_claim`).
"""

from __future__ import annotations

import fcntl
import functools
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

from phantom_dist.core.errors import InputError
from phantom_dist.traces.leases import Leases
from phantom_dist.traces.object_claim import claim_object
from phantom_dist.traces.process import SILENCE_S, lives_here
from phantom_dist.traces.run_directory import Row, RunDirectory


@contextmanager
def claim(directory: RunDirectory) -> Iterator[Leases]:
    """Claim the directory for writing during the block; yields the leases that the driver may grant.

    Raises:
        InputError: another driver has claimed it; the message names its process and host.
    """
    folder = directory.store.local_path
    if folder is None:
        with (
            claim_object(directory.store.location, functools.partial(_busy, directory)),
            closing(Leases(directory.store)) as leases,
        ):
            yield leases
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
        raise _busy(directory, directory.read_state()) from None
    except OSError as error:
        os.close(lock)
        raise InputError(
            f"--out {directory.store.location}: can't be locked: {error.strerror}. Allowed: a file system with flock "
            "(Lustre: mounted with -o flock) or an object store."
        ) from None
    try:
        with closing(Leases(directory.store)) as leases:
            yield leases
    finally:
        os.close(lock)


def _busy(directory: RunDirectory, state: Mapping[str, Any]) -> InputError:
    driver = f"process {state.get('pid', 'unknown')} on {state.get('host', 'another host')}"
    return InputError(
        f"{directory.store.location}: another run is writing here ({driver}). "
        f"Wait for it, stop it, or choose another --out."
    )


def alive(state: Row) -> bool:
    """True if the driver that wrote this heartbeat still runs, as far as this host can tell."""
    if state.get("state") != "running":
        return False
    known = lives_here(state)
    if known is not None:
        return known
    return time.time() - float(state.get("heartbeat_at", 0.0)) <= SILENCE_S
