"""`events.jsonl`: what happened in a run, one event (`core.events`) a line, over all of its starts.

It is no result: no digest, archive or decision reads it, and a run goes on where it can't be written.

On a local or mounted file system each event is appended in one call. A driver that dies loses nothing that way, a
machine that dies the last moments; a line that was cut off is skipped by readers and ended by the next start.

An object store can't append, and rewriting one growing object for each event would send a night's log thousands of
times. So a start writes segments there, `events/DRIVER-NUMBER.jsonl`: the open one is rewritten by a thread every few
seconds while it is small, then a new one begins. The traffic stays bounded and a night makes dozens of objects, where
one object for every few seconds would make thousands. Readers join them in the order of their first events.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from phantom_dist.core.errors import StoreError
from phantom_dist.core.events import EventKind, RunEvent, listening, record
from phantom_dist.traces.json_lines import after_a_cut
from phantom_dist.traces.process import this_process
from phantom_dist.traces.store import Store

FILE, FOLDER = "events.jsonl", "events"

REWRITE_S = 5.0
"""How long an event may wait until it reaches an object store (s)."""

SEGMENT_BYTES = 256 * 1024
"""From this size on a segment is left as it is and a new one begins."""

logger = logging.getLogger("phantom_dist.traces.event_log")


class EventLog:
    """Buffers events until the run directory is known; from then on writes each as it comes.

    `outcome`: how the run ended, in words, where nothing was raised.
    """

    def __init__(self) -> None:
        self._early: list[bytes] | None = []
        self._kept: _Kept | None = None
        self.outcome = "complete"

    def __call__(self, event: RunEvent) -> None:
        """Write an event."""
        line = json.dumps(event.to_json(), ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        if self._early is not None:
            self._early.append(line)
        elif self._kept is not None:
            self._write(self._kept, line)

    @contextmanager
    def kept_in(self, store: Store, driver: str) -> Iterator[None]:
        """Write what was buffered, what comes while the block lasts, and how it ended, into a run directory.

        A driver that is killed writes no end, and readers see that.

        Args:
            store: the run directory's.
            driver: a name that no other start of the run has.
        """
        self._open(store, driver)
        try:
            yield
        except BaseException as error:
            self.outcome = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
            raise
        finally:
            record(RunEvent(time=time.time(), kind=EventKind.RUN_ENDED, message=self.outcome))
            self._close()

    def _open(self, store: Store, driver: str) -> None:
        buffered, self._early = self._early or [], None
        try:
            self._kept = _Segments(store, driver) if store.local_path is None else _File(store.local_path)
        except OSError as error:
            self._give_up(error)
        for line in buffered:
            if self._kept is not None:
                self._write(self._kept, line)
        if self._kept is not None:
            self._kept.flush()  # a start that dies soon has left its mark

    def _close(self) -> None:
        if self._kept is not None:
            try:
                self._kept.close()
            except (OSError, StoreError) as error:
                self._give_up(error)
        self._kept = None

    def _write(self, kept: _Kept, line: bytes) -> None:
        try:
            kept.append(line)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._kept = None
        logger.warning("the run goes on without its %s: %s", FILE, error)


class _Kept(Protocol):
    def append(self, line: bytes) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


class _File:
    """A file that every start of a run appends to."""

    def __init__(self, folder: Path) -> None:
        self._file = open(folder / FILE, "ab+", buffering=0)  # noqa: SIM115  closed by `close`
        self._file.write(after_a_cut(self._file))

    def append(self, line: bytes) -> None:
        self._file.write(line)

    def flush(self) -> None:
        """Every line is written at once."""

    def close(self) -> None:
        self._file.close()


class _Segments:
    """Objects that one start of a run writes, the last of them again and again while it grows."""

    def __init__(self, store: Store, driver: str) -> None:
        self._store, self._driver = store, driver
        self._lock = threading.Lock()  # of the lines
        self._uploading = threading.Lock()  # an older state of a segment must not come after a newer one
        self._number, self._lines, self._size, self._dirty = 0, list[bytes](), 0, False
        self._ended = threading.Event()
        self._writing = threading.Thread(target=self._write_now_and_then, daemon=True)
        self._writing.start()

    def append(self, line: bytes) -> None:
        with self._lock:
            self._lines.append(line)
            self._size += len(line)
            self._dirty = True

    def flush(self) -> None:
        try:
            self._put()
        except StoreError as error:  # a store fails now and then; the next time writes the same lines
            logger.warning("%s: %s", FOLDER, error)

    def close(self) -> None:
        self._ended.set()
        self._writing.join()
        self._put()

    def _write_now_and_then(self) -> None:
        while not self._ended.wait(REWRITE_S):
            self.flush()

    def _put(self) -> None:
        with self._uploading:
            with self._lock:
                if not self._dirty:
                    return
                name, lines, full = self._name(), tuple(self._lines), self._size > SEGMENT_BYTES
                self._dirty = False
            try:
                self._store.put(name, b"".join(lines))
            except StoreError:
                self._dirty = True
                raise
            if full:
                with self._lock:
                    self._number, self._lines = self._number + 1, self._lines[len(lines) :]
                    self._size = sum(map(len, self._lines))

    def _name(self) -> str:
        return f"{FOLDER}/{self._driver}-{self._number:06d}.jsonl"


@contextmanager
def recording() -> Iterator[EventLog]:
    """A log of everything that is recorded while the block lasts, which begins with the start of a run."""
    log, here = EventLog(), this_process()
    with listening(log):
        record(RunEvent(time=time.time(), kind=EventKind.RUN_STARTED, host=here["host"], process=here["pid"]))
        yield log


def read_events(store: Store) -> list[RunEvent]:
    """The events of all starts of a run, in order; empty where a run has none, as those of older versions.

    Raises:
        StoreError: they can't be read.
    """
    try:
        parts = [store.get(FILE)]
    except FileNotFoundError:
        parts = []
    starts: dict[str, list[RunEvent]] = {}
    for name in store.names(FOLDER):
        starts.setdefault(name.rpartition("-")[0], []).extend(_events(store.get(name)))
    joined = sorted((events for events in starts.values() if events), key=lambda events: events[0].time)
    return [event for data in parts for event in _events(data)] + [e for events in joined for e in events]


def _events(data: bytes) -> Iterator[RunEvent]:
    for line in data.split(b"\n"):  # other line ends of Unicode are letters of a text
        try:
            yield RunEvent.from_json(json.loads(line))
        except (ValueError, TypeError, KeyError):
            continue  # cut off by a death, or of a newer version
