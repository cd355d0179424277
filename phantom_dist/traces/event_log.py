"""`events.jsonl`: the events of a run (`core.events`), one per line, over all of its starts.

It is not a result: no digest, archive or decision reads it, and a run continues if it can't be written.

On a local or mounted file system each event is appended in one call. If the driver dies, nothing is lost; if the
machine dies, the last moments are. Readers skip a truncated line, and the next start terminates it.

An object store can't append, and rewriting one growing object for each event would upload a night's log thousands of
times. So each start writes segments, `events/DRIVER-NUMBER.jsonl`: a thread rewrites the open one every few seconds
while it is small, then begins a new one. This bounds the traffic, and a night makes dozens of objects, whereas a new
object every few seconds would make thousands. Readers order the starts by their first events.
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
from phantom_dist.traces.json_lines import line_break_if_truncated
from phantom_dist.traces.process import this_process
from phantom_dist.traces.store import Store

FILE, FOLDER = "events.jsonl", "events"

REWRITE_S = 5.0
"""Interval between uploads to an object store (s)."""

SEGMENT_BYTES = 256 * 1024
"""A segment that exceeds this size is closed, and a new one begins."""

logger = logging.getLogger("phantom_dist.traces.event_log")


class EventLog:
    """Buffers events until the run directory is known; then writes each event at once.

    `outcome`: how the run ended, as text; replaced by the error if the run raises one.
    """

    def __init__(self) -> None:
        self._buffered: list[bytes] | None = []
        self._target: _Target | None = None
        self.outcome = "complete"

    def __call__(self, event: RunEvent) -> None:
        """Write an event."""
        line = json.dumps(event.to_json(), ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"
        if self._buffered is not None:
            self._buffered.append(line)
        elif self._target is not None:
            self._write(self._target, line)

    @contextmanager
    def kept_in(self, store: Store, driver: str) -> Iterator[None]:
        """Write the buffered events, those of the block, and finally `run_ended` into a run directory.

        A driver that is killed writes no `run_ended`; readers recognise it by that.

        Args:
            store: the run directory's store.
            driver: a unique name of this start.
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
        buffered, self._buffered = self._buffered or [], None
        try:
            self._target = _Segments(store, driver) if store.local_path is None else _File(store.local_path)
        except OSError as error:
            self._give_up(error)
        for line in buffered:
            if self._target is not None:
                self._write(self._target, line)
        if self._target is not None:
            self._target.flush()  # so that even a start that dies soon is recorded

    def _close(self) -> None:
        if self._target is not None:
            try:
                self._target.close()
            except (OSError, StoreError) as error:
                self._give_up(error)
        self._target = None

    def _write(self, target: _Target, line: bytes) -> None:
        try:
            target.append(line)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        self._target = None
        logger.warning("the run continues without its %s: %s", FILE, error)


class _Target(Protocol):
    def append(self, line: bytes) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


class _File:
    """A file to which every start of a run appends."""

    def __init__(self, folder: Path) -> None:
        self._file = open(folder / FILE, "ab+", buffering=0)  # noqa: SIM115  closed by `close`
        self._file.write(line_break_if_truncated(self._file))

    def append(self, line: bytes) -> None:
        self._file.write(line)

    def flush(self) -> None:
        """Nothing to do: every line is written at once."""

    def close(self) -> None:
        self._file.close()


class _Segments:
    """The objects of one start of a run; a thread rewrites the last one while it grows."""

    def __init__(self, store: Store, driver: str) -> None:
        self._store, self._driver = store, driver
        self._lock = threading.Lock()  # guards the lines
        self._uploading = threading.Lock()  # an older state of a segment must not overwrite a newer one
        self._number, self._lines, self._size, self._dirty = 0, list[bytes](), 0, False
        self._ended = threading.Event()
        self._writer = threading.Thread(target=self._write_periodically, daemon=True)
        self._writer.start()

    def append(self, line: bytes) -> None:
        with self._lock:
            self._lines.append(line)
            self._size += len(line)
            self._dirty = True

    def flush(self) -> None:
        try:
            self._put()
        except StoreError as error:  # stores fail sometimes; the next upload writes the same lines
            logger.warning("%s: %s", FOLDER, error)

    def close(self) -> None:
        self._ended.set()
        self._writer.join()
        self._put()

    def _write_periodically(self) -> None:
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
    """A log of all events that are recorded during the block, beginning with `run_started`."""
    log, here = EventLog(), this_process()
    with listening(log):
        record(RunEvent(time=time.time(), kind=EventKind.RUN_STARTED, host=here["host"], process=here["pid"]))
        yield log


def read_events(store: Store) -> list[RunEvent]:
    """The events of all starts of a run, in order; empty for a run without events, as with older versions.

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
    ordered = sorted((events for events in starts.values() if events), key=lambda events: events[0].time)
    return [event for data in parts for event in _events(data)] + [e for events in ordered for e in events]


def _events(data: bytes) -> Iterator[RunEvent]:
    for line in data.split(b"\n"):  # not splitlines: a text may contain other line ends of Unicode
        try:
            yield RunEvent.from_json(json.loads(line))
        except (ValueError, TypeError, KeyError):
            continue  # truncated, or written by a newer version
