"""The live view of a run: on a terminal a table that redraws itself, elsewhere a line every ten seconds."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from phantom_dist.cli.current_work import CurrentWork
from phantom_dist.cli.logs import is_quiet
from phantom_dist.core.activity import watching
from phantom_dist.core.events import listening
from phantom_dist.core.result import duration

if TYPE_CHECKING:  # commands that don't train start without torch
    from phantom_dist.campaign.progress import Progress, SearchProgress

PLAIN_INTERVAL_S = 10.0
SHOWN_SEARCHES = 12
SHOWN_WORKERS = 8


class LiveView:
    """Shows on stderr each `Progress`, and from the start what the run is doing."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._work = CurrentWork()
        self._progress: Progress | None = None
        shown = self._console.is_terminal and not is_quiet()
        self._live = Live(self, console=self._console, refresh_per_second=4) if shown else None
        self._last = 0.0
        self._stack = ExitStack()

    def __enter__(self) -> LiveView:
        self._stack.enter_context(watching(self._work))
        self._stack.enter_context(listening(self._work.on_event))
        if self._live:
            self._stack.enter_context(self._live)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def __rich__(self) -> Group:
        """What the terminal shows; called again and again, so that times advance without events."""
        return render(self._progress, self._work)

    def __call__(self, progress: Progress) -> None:
        """Show a snapshot."""
        self._progress = progress
        due = time.monotonic() - self._last >= PLAIN_INTERVAL_S or progress.done == progress.expected
        if not self._live and due and not is_quiet():
            self._last = time.monotonic()
            print(line(progress, self._work), file=sys.stderr, flush=True)


class Countdown:
    """Shows on stderr, every ten seconds, how many items are done and the time left at the latest pace."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._shown, self._shown_at = 0, time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """Report that `done` of `total` items are done."""
        now = time.monotonic()
        if not is_quiet() and (now - self._shown_at >= PLAIN_INTERVAL_S or done == total):
            # The latest pace, not the average: a large model after many small ones takes longer.
            left = (now - self._shown_at) / max(1, done - self._shown) * (total - done)
            self._shown, self._shown_at = done, now
            print(f"{done} of {total} {self._what}, {duration(left)} left", file=sys.stderr, flush=True)


class Phases:
    """A countdown for each phase of a command's work; its clock starts with the phase."""

    def __init__(self) -> None:
        self._what, self._countdown = "", Countdown("")

    def __call__(self, what: str, done: int, total: int) -> None:
        """Report that `done` of `total` items of the phase `what` are done."""
        if what != self._what:
            self._what, self._countdown = what, Countdown(what)
        self._countdown(done, total)


def line(progress: Progress, work: CurrentWork) -> str:
    """One line: trials done, by outcome, rate, time left, current work; only the last before a worker is ready."""
    now = work.line()
    if not work.has_workers and not progress.done:
        return f"{progress.name}: {now or 'starting'}"
    outcomes = ", ".join(f"{count} {name}" for name, count in sorted(progress.outcomes.items())) or "none yet"
    finished = sum(search.finished for search in progress.searches)
    left = "" if progress.left is None else f", {duration(progress.left)} left"
    return (
        f"{progress.name}: {progress.done} of about {progress.expected} trials ({outcomes}), "
        f"{finished} of {len(progress.searches)} curves finished, {progress.trials_per_second:.2f} trials/s, "
        f"{duration(progress.elapsed)} so far{left}, {progress.workers} worker{'' if progress.workers == 1 else 's'}"
        + (f"; {now}" if now else "")
    )


def render(progress: Progress | None, work: CurrentWork) -> Group:
    """The whole view: the line, a bar, what each worker is doing, and the searches, unfinished ones first."""
    if progress is None:
        return Group(Text(work.line() or "starting"))
    workers = work.workers()
    shown = [Text(text, style="dim") for text in workers[:SHOWN_WORKERS]]
    if len(workers) > SHOWN_WORKERS:
        shown.append(Text(f"… and {len(workers) - SHOWN_WORKERS} more workers", style="dim"))
    bar = Table.grid()  # a bar outside a table ends without a line break
    bar.add_row(ProgressBar(total=max(progress.expected, 1), completed=progress.done, width=60))
    return Group(Text(line(progress, work)), bar, *shown, _searches(progress))


def _searches(progress: Progress) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("curve")
    table.add_column("trials", justify="right")
    table.add_column("bracket of the critical learning rate", justify="right")
    table.add_column("width", justify="right")
    unfinished_first = sorted(progress.searches, key=lambda search: (search.finished, -search.trials))
    for search in unfinished_first[:SHOWN_SEARCHES]:
        table.add_row(
            search.name, str(search.trials), *_bracket(search), style="dim" if search.finished else ""
        )
    if len(unfinished_first) > SHOWN_SEARCHES:
        table.add_row(f"… and {len(unfinished_first) - SHOWN_SEARCHES} more")
    return table


def _bracket(search: SearchProgress) -> tuple[str, str]:
    if search.bracket is None:
        return ("finished" if search.finished else "searching", "")
    low, high = search.bracket
    return (f"{low:.5g} … {high:.5g}", f"{100 * (high / low - 1):.2g} %")
