"""Who may still write into a run directory: each attempt at a task under its own lease, and a lease that is over can't.

A process that was taken for dead may come back: stopped, swapped out, cut off from the network. What it then writes
must not stand beside what its successor wrote. So a writer's files go through something that its lease owns.

On a local or mounted file system that is a folder, `.leases/DRIVER/NUMBER`: a file is written there and renamed to its
place. Whoever ends the lease takes the folder away, in one step that the kernel orders with every rename: a file came
to its place before that moment, and its successor finds it; or it never will. A driver that begins takes away all
folders of its predecessors, and with them every lease that they gave or might still give.

An object store has no rename. There a lease is an empty object that a writer looks for before each upload; one that is
under way when the lease ends still arrives. `RunDirectory.discard_halves` removes what it doubles.
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
    """The name of a lease in the ledger's numbers; 0 is the driver's own."""
    return f"{driver}/{number}"


class Leases:
    """The leases that one driver gives; those of every driver before it are over once this exists."""

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
            StoreError: it can't be written, or this driver's own lease is over.
        """
        logger.debug("lease %d granted", number)
        folder = self._store.local_path
        if folder is None:
            giver = self._store if number == 0 else self._store.under(self.own)
            giver.put(f"{LEASES}/{lease_name(self.driver, number)}", b"")
            return
        try:
            (folder / LEASES / lease_name(self.driver, number)).mkdir(parents=number == 0)
        except FileNotFoundError:
            raise StoreError(f"{self._store.location}: another driver has taken over this run.") from None
        except OSError as error:
            raise StoreError(f"{self._store.location}: can't write {LEASES}: {error.strerror}") from error

    def end(self, number: int) -> None:
        """End a lease: nothing that is written under it becomes visible any more."""
        logger.debug("lease %d ended", number)
        folder = self._store.local_path
        if folder is None:
            self._store.delete(f"{LEASES}/{lease_name(self.driver, number)}")
        else:
            _take_away(folder / LEASES / lease_name(self.driver, number))

    def close(self) -> None:
        """End all that this driver gave; a successor's, if one has taken over, are none of them."""
        own = f"{LEASES}/{self.driver}"
        folder = self._store.local_path
        if folder is None:
            for name in self._store.names(own):
                self._store.delete(name)
            return
        _take_away(folder / own)
        with suppress(OSError):  # a successor's are in it
            (folder / LEASES).rmdir()

    def _end_all(self) -> None:
        folder = self._store.local_path
        if folder is None:
            for name in self._store.names(LEASES):
                self._store.delete(name)
            return
        _take_away(folder / LEASES)
        for gone in folder.glob(".*.gone"):  # by a driver that died in between
            shutil.rmtree(gone, ignore_errors=True)


def _take_away(folder: Path) -> None:
    gone = folder.with_name(f".{uuid.uuid4().hex}.gone")
    try:
        folder.rename(gone)
    except FileNotFoundError:
        return
    shutil.rmtree(gone, ignore_errors=True)
