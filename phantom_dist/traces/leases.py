"""Leases: which attempt at a task may still write into a run directory.

A process that seemed dead may continue: it was stopped, swapped out or disconnected. Its files must not appear beside
those of its successor. So every attempt writes under its own lease, and can't write once the lease is over.

On a local or mounted file system a lease is a folder, `.leases/DRIVER/NUMBER`. A file is written there and then renamed
to its final path. Ending the lease removes the folder in one step, which the kernel orders with every rename: a file is
either renamed before, and the successor finds it, or never. A driver that starts removes all folders of earlier
drivers, and with them all leases that they have granted or could still grant.

An object store has no rename. There a lease is an empty object that a writer checks before each upload. An upload that
is in progress when the lease ends still completes; `RunDirectory.discard_halves` removes the rows that it duplicates.
"""

from __future__ import annotations

import logging
import shutil
import uuid
from contextlib import suppress
from pathlib import Path

from phantom_dist.core.errors import StoreError
from phantom_dist.traces.store import LEASES, Store

logger = logging.getLogger("phantom_dist.traces.leases")


def lease_name(driver: str, number: int) -> str:
    """The name of the lease with one of the ledger's numbers; 0 is the driver's own lease."""
    return f"{driver}/{number}"


class Leases:
    """The leases of one driver. Creating this object ends the leases of all earlier drivers."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.driver = uuid.uuid4().hex[:12]
        self._end_all()
        self.grant(0)

    @property
    def own(self) -> str:
        """The driver's own lease."""
        return lease_name(self.driver, 0)

    def grant(self, number: int) -> None:
        """Begin a lease.

        Raises:
            StoreError: the store can't be written, or this driver's own lease is over.
        """
        logger.debug("lease %d granted", number)
        folder = self._store.local_path
        if folder is None:
            store = self._store if number == 0 else self._store.under(self.own)
            store.put(f"{LEASES}/{lease_name(self.driver, number)}", b"")
            return
        try:
            (folder / LEASES / lease_name(self.driver, number)).mkdir(parents=number == 0)
        except FileNotFoundError:
            raise StoreError(f"{self._store.location}: another driver has taken over this run.") from None
        except OSError as error:
            raise StoreError(f"{self._store.location}: can't write {LEASES}: {error.strerror}") from error

    def end(self, number: int) -> None:
        """End a lease: from now on nothing that is written under it becomes visible."""
        logger.debug("lease %d ended", number)
        folder = self._store.local_path
        if folder is None:
            self._store.delete(f"{LEASES}/{lease_name(self.driver, number)}")
        else:
            _remove(folder / LEASES / lease_name(self.driver, number))

    def close(self) -> None:
        """End all leases of this driver, but not those of a driver that has taken over."""
        own = f"{LEASES}/{self.driver}"
        folder = self._store.local_path
        if folder is None:
            for name in self._store.names(own):
                self._store.delete(name)
            return
        _remove(folder / own)
        with suppress(OSError):  # not empty: it has the leases of a driver that has taken over
            (folder / LEASES).rmdir()

    def _end_all(self) -> None:
        folder = self._store.local_path
        if folder is None:
            for name in self._store.names(LEASES):
                self._store.delete(name)
            return
        _remove(folder / LEASES)
        for gone in folder.glob(".*.gone"):  # left by a driver that died during `_remove`
            shutil.rmtree(gone, ignore_errors=True)


def _remove(folder: Path) -> None:
    """Remove a folder atomically: rename it first, then delete its files."""
    gone = folder.with_name(f".{uuid.uuid4().hex}.gone")
    try:
        folder.rename(gone)
    except FileNotFoundError:
        return
    shutil.rmtree(gone, ignore_errors=True)
