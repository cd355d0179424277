"""What a process is doing, for whoever watches: `with activity(Activity.LOADING, "zoo:gpt2-a"): …`.

The live view shows it from the first second on, and a `Stopwatch` adds up how long each kind took. Whoever does the
work knows neither.
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
    """What time is spent on. `starting`: Ray and its workers; `loading`: a model, its download and dequantising."""

    PLANNING = "planning"
    STARTING = "starting"
    LOADING = "loading"
    PROBING = "probing"
    TRAINING = "training"
    STORING = "storing"


class Watcher(Protocol):
    """Is notified of every activity in its context; activities may be nested."""

    def began(self, kind: Activity, what: str, *, long: bool) -> None:
        """An activity begins, within those that have begun and not ended."""

    def ended(self, kind: Activity, what: str) -> None:
        """The activity that began last ends, whether or not it succeeded."""


_watchers: ContextVar[tuple[Watcher, ...]] = ContextVar("phantom_dist_watchers", default=())


@contextmanager
def activity(kind: Activity, what: str, *, long: bool = False) -> Iterator[None]:
    """Notify all watchers that this is going on while the block lasts.

    Args:
        kind: what its time counts as.
        what: in words, as in `dequantising model.gguf`.
        long: it may take so long that a person should read of it even where only lines are printed.
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
    """Notify the watcher of every activity in this context (`contextvars`) while the block lasts."""
    token = _watchers.set((*_watchers.get(), watcher))
    try:
        yield
    finally:
        _watchers.reset(token)


class Stopwatch:
    """Seconds by activity. A nested activity's time counts as its own and not as the outer one's.

    So the seconds add up to the time in which anything was going on.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._going_on: list[Activity] = []
        self._since = 0.0
        self.seconds: dict[str, float] = {}

    def began(self, kind: Activity, what: str, *, long: bool) -> None:
        """Count the time up to now to the outer activity, if there is one."""
        self._count()
        self._going_on.append(kind)

    def ended(self, kind: Activity, what: str) -> None:
        """Count the time up to now to this activity."""
        self._count()
        self._going_on.pop()

    def _count(self) -> None:
        now = self._now()
        if self._going_on:
            kind = self._going_on[-1].value
            self.seconds[kind] = self.seconds.get(kind, 0.0) + now - self._since
        self._since = now


@contextmanager
def stopwatch() -> Iterator[Stopwatch]:
    """A stopwatch that runs while the block lasts."""
    clock = Stopwatch()
    with watching(clock):
        yield clock


@contextmanager
def preparation() -> Iterator[None]:
    """Record, as the event `prepared`, where the driver's time went while the block lasted."""
    with stopwatch() as clock:
        yield
    record(RunEvent(time=time.time(), kind=EventKind.PREPARED, activities=clock.seconds))
