"""The live view of a run: a table that redraws itself on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from phantom_dist.core.result import duration

if TYPE_CHECKING:  # commands that train nothing start without torch
    from phantom_dist.campaign.progress import Progress, SearchProgress

PLAIN_INTERVAL_S = 10.0
SHOWN_SEARCHES = 12


class LiveView:
    """Shows each `Progress` on stderr."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=4) if self._console.is_terminal else None
        self._last = 0.0

    def __enter__(self) -> LiveView:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def __call__(self, progress: Progress) -> None:
        """Show a snapshot."""
        if self._live:
            self._live.update(render(progress))
        elif time.monotonic() - self._last >= PLAIN_INTERVAL_S or progress.done == progress.expected:
            self._last = time.monotonic()
            print(line(progress), file=sys.stderr, flush=True)


class Countdown:
    """Shows how many of how many are done and the time left at the latest pace, on stderr, now and then."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._shown, self._shown_at = 0, time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """So many are done."""
        now = time.monotonic()
        if now - self._shown_at >= PLAIN_INTERVAL_S or done == total:
            # The latest pace: a large model after many small ones takes its own time.
            left = (now - self._shown_at) / max(1, done - self._shown) * (total - done)
            self._shown, self._shown_at = done, now
            print(f"{done} of {total} {self._what}, {duration(left)} left", file=sys.stderr, flush=True)


class Phases:
    """A countdown for each phase of a command's work, whose clock starts with the phase."""

    def __init__(self) -> None:
        self._what, self._countdown = "", Countdown("")

    def __call__(self, what: str, done: int, total: int) -> None:
        """So many of a phase's things are done."""
        if what != self._what:
            self._what, self._countdown = what, Countdown(what)
        self._countdown(done, total)


def line(progress: Progress) -> str:
    """One line: trials done, by outcome, rate, time left."""
    outcomes = ", ".join(f"{count} {name}" for name, count in sorted(progress.outcomes.items())) or "none yet"
    finished = sum(search.finished for search in progress.searches)
    return (
        f"{progress.name}: {progress.done} of about {progress.expected} trials ({outcomes}), "
        f"{finished} of {len(progress.searches)} curves finished, {progress.trials_per_second:.2f} trials/s, "
        f"{duration(progress.elapsed)} so far, {_left(progress)} left, {progress.workers} workers"
    )


def render(progress: Progress) -> Group:
    """The whole view: a bar, the line, and the searches that run now."""
    table = Table(box=None, pad_edge=False)
    table.add_column("curve")
    table.add_column("trials", justify="right")
    table.add_column("bracket of the critical learning rate", justify="right")
    table.add_column("width", justify="right")
    open_first = sorted(progress.searches, key=lambda search: (search.finished, -search.trials))
    for search in open_first[:SHOWN_SEARCHES]:
        table.add_row(
            search.name, str(search.trials), *_bracket(search), style="dim" if search.finished else ""
        )
    if len(open_first) > SHOWN_SEARCHES:
        table.add_row(f"… and {len(open_first) - SHOWN_SEARCHES} more")
    bar = Table.grid()  # a bar alone ends without a line break
    bar.add_row(ProgressBar(total=max(progress.expected, 1), completed=progress.done, width=60))
    return Group(Text(line(progress)), bar, table)


def _bracket(search: SearchProgress) -> tuple[str, str]:
    if search.bracket is None:
        return ("finished" if search.finished else "searching", "")
    low, high = search.bracket
    return (f"{low:.5g} … {high:.5g}", f"{100 * (high / low - 1):.2g} %")


def _left(progress: Progress) -> str:
    return "unknown" if progress.left is None else duration(progress.left)
