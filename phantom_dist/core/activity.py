"""What a process is doing: `with activity(Activity.LOADING, "zoo:gpt2-a"): …` notifies all watchers.

The live view is a watcher that shows the activity; a `Stopwatch` adds up how long each kind takes. The code that does
the work depends on neither.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from typing import Protocol

from phantom_dist.core.events import EventKind, RunEvent, record

logger = logging.getLogger("phantom_dist.activity")


class Activity(StrEnum):
    """Kinds of activities. `starting`: Ray and its workers; `loading`: a model, with download and dequantisation."""

    PLANNING = "planning"
    STARTING = "starting"
    LOADING = "loading"
    PROBING = "probing"
    TRAINING = "training"
    STORING = "storing"


class Watcher(Protocol):
    """Receives every activity in its context; activities may be nested."""

    def began(self, kind: Activity, what: str, *, long: bool) -> None:
        """An activity begins, nested in those that have not ended."""

    def ended(self, kind: Activity, what: str) -> None:
        """The innermost activity ends, whether or not it succeeded."""


_watchers: ContextVar[tuple[Watcher, ...]] = ContextVar("phantom_dist_watchers", default=())


@contextmanager
def activity(kind: Activity, what: str, *, long: bool = False) -> Iterator[None]:
    """Notify all watchers of an activity, which lasts as long as the block.

    Args:
        kind: the kind to which its time counts.
        what: a description, such as `dequantising model.gguf`.
        long: it may take so long that it is announced even where the live view can only print lines.
    """
    since, watchers = time.monotonic(), _watchers.get()
    logger.debug("%s …", what)
    for watcher in watchers:
        watcher.began(kind, what, long=long)
    try:
        yield
    finally:
        for watcher in watchers:
            watcher.ended(kind, what)
        logger.info("%s took %.1f s", what, time.monotonic() - since, extra={"activity": kind.value})


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Notify the watcher of every activity in this context (`contextvars`) during the block."""
    token = _watchers.set((*_watchers.get(), watcher))
    try:
        yield
    finally:
        _watchers.reset(token)


class Stopwatch:
    """Seconds by kind of activity. The time of a nested activity doesn't count for the outer one.

    So the seconds add up to the time during which there was any activity.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._active: list[Activity] = []  # innermost last
        self._since = 0.0
        self.seconds: dict[str, float] = {}

    def began(self, kind: Activity, what: str, *, long: bool) -> None:
        """Add the time up to now to the outer activity, if there is one."""
        self._count()
        self._active.append(kind)

    def ended(self, kind: Activity, what: str) -> None:
        """Add the time up to now to this activity."""
        self._count()
        self._active.pop()

    def _count(self) -> None:
        now = self._now()
        if self._active:
            kind = self._active[-1].value
            self.seconds[kind] = self.seconds.get(kind, 0.0) + now - self._since
        self._since = now


@contextmanager
def stopwatch() -> Iterator[Stopwatch]:
    """A stopwatch that runs during the block."""
    clock = Stopwatch()
    with watching(clock):
        yield clock


@contextmanager
def preparation() -> Iterator[None]:
    """Record the event `prepared` after the block, with the seconds that the driver spent on each activity in it."""
    with stopwatch() as clock:
        yield
    record(RunEvent(time=time.time(), kind=EventKind.PREPARED, activities=clock.seconds))
