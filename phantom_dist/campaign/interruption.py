"""The message of an interrupted run: what is kept, and how to continue."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from phantom_dist.core.errors import Cancelled, Interrupted, StoreError
from phantom_dist.traces import RunDirectory


@contextmanager
def interruption_explained(directory: RunDirectory) -> Iterator[None]:
    """Give an interruption of the block (Ctrl-C, a signal, `cancel`) a message: what is kept, and how to continue.

    Raises:
        Interrupted: in place of the interruption.
    """
    try:
        yield
    except KeyboardInterrupt as interruption:
        how = "cancelled" if isinstance(interruption, Cancelled) else "interrupted"
        stored, location = False, directory.store.location
        with suppress(StoreError):
            stored = directory.read_sweep() is not None
        if not stored:
            raise Interrupted(f"{how} before anything was run; nothing is stored") from None
        raise Interrupted(
            f"{how}; what was stored is kept: continue with `phantom-dist resume {shlex.quote(location)}`"
        ) from None
