"""From a run's timeline to the rows of its figure: a line for each worker, a bar for each task, marks for failures.

| name | meaning |
|---|---|
| `line` | the worker, with the run where there are several |
| `begun`, `ended`, `at` | time of the run in its `Unit`, without the time between two starts of its driver |
| `did` | `probing`, `training`, or `no result` |
| `tasks` | how many tasks the bar stands for: where there are many, neighbours of one kind are merged |
| `happened` | of a mark: how an attempt ended, that a task was copied, or that the driver was restarted |
| `why` | of a mark: the reason |
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from phantom_dist.core.events import shortened
from phantom_dist.scheduling.timeline import ENDINGS, Attempt, End, Timeline

Row = dict[str, Any]

PROBING, TRAINING, NOTHING = "probing", "training", "no result"

MOST_BARS = 3000
"""Above this number, neighbouring bars with the smallest gaps are merged, as far as any can be merged."""

HAPPENED = {end: words for end, words in ENDINGS.items() if end not in (End.DONE, End.RUNNING)}
"""Labels of the ways in which an attempt ends without a result."""

COPIED, RESTARTED = "copied", "driver restarted"


@dataclass(frozen=True)
class Unit:
    """A unit of time: its symbol, and its length in seconds."""

    symbol: str
    seconds: float


def unit_for(timelines: Iterable[Timeline]) -> Unit:
    """The unit that suits the longest of the runs."""
    longest = max((sum(start.seconds for start in one.starts) for one in timelines), default=0.0)
    if longest < 180:
        return Unit("s", 1)
    return Unit("min", 60) if longest < 3 * 3600 else Unit("h", 3600)


def bars(run: str, timeline: Timeline, unit: Unit, *, several_runs: bool = False) -> list[Row]:
    """The bars of a run, sorted by worker and time."""
    clock = _clock(timeline, unit)
    rows = [_bar(run, attempt, clock, several_runs) for attempt in timeline.attempts]
    rows.sort(key=lambda row: (_natural(row["line"]), row["begun"]))
    length = max((row["ended"] for row in rows), default=0.0)
    gap = length / 2000  # half a pixel
    while len(rows) > MOST_BARS and 0 < gap < 2 * length:
        rows, gap = list(_joined(rows, gap)), 2 * gap
    return rows


def marks(run: str, timeline: Timeline, unit: Unit, *, several_runs: bool = False) -> list[Row]:
    """The marks of a run: at the end of each attempt without a result, and at the start of each copy."""
    clock = _clock(timeline, unit)
    rows = []
    for attempt in timeline.attempts:
        shared = {
            "run": run,
            "line": _line(run, attempt.worker, several_runs),
            "model": attempt.model,
            "task": attempt.task,
            "attempt": attempt.number,
        }
        if attempt.copy:
            rows.append(shared | {"at": clock(attempt.start, attempt.began), "happened": COPIED, "why": ""})
        if attempt.end in HAPPENED:
            at, why = clock(attempt.start, attempt.ended), shortened(attempt.message)
            rows.append(shared | {"at": at, "happened": HAPPENED[attempt.end], "why": why})
    return rows


def restarts(timeline: Timeline, unit: Unit) -> list[float]:
    """Times at which the driver was restarted."""
    clock = _clock(timeline, unit)
    return [clock(start.number, start.began) for start in timeline.starts[1:]]


def lines(rows: Sequence[Row]) -> list[str]:
    """The workers' lines, in their natural order: worker-10 after worker-9."""
    return sorted({row["line"] for row in rows}, key=_natural)


def _clock(timeline: Timeline, unit: Unit) -> Callable[[int, float], float]:
    """Returns the function from a start's number and a time (s since 1970) to the time of the run."""
    offsets, before = {}, 0.0
    for start in timeline.starts:
        offsets[start.number] = before - start.began
        before += start.seconds
    return lambda number, time: (time + offsets[number]) / unit.seconds


def _bar(run: str, attempt: Attempt, clock: Callable[[int, float], float], several_runs: bool) -> Row:
    did = PROBING if attempt.task_kind == "probe" else TRAINING
    return {
        "run": run,
        "line": _line(run, attempt.worker, several_runs),
        "model": attempt.model,
        "start": attempt.start,
        "begun": clock(attempt.start, attempt.began),
        "ended": clock(attempt.start, attempt.ended),
        "did": NOTHING if attempt.end in HAPPENED else did,
        "task": attempt.task,
        "attempt": attempt.number,
        "size": attempt.size,
        "tasks": 1,
    }


def _line(run: str, worker: str, several_runs: bool) -> str:
    return f"{run}: {worker}" if several_runs else worker


def _joined(rows: Sequence[Row], gap: float) -> Iterator[Row]:
    """Merge successive bars of one line and kind where no more than `gap` lies between them."""
    current: Row | None = None
    alike = ("line", "model", "start", "did")
    for row in rows:
        if (
            current is not None
            and row["did"] != NOTHING
            and all(row[name] == current[name] for name in alike)
            and row["begun"] - current["ended"] <= gap
        ):
            current["ended"] = max(current["ended"], row["ended"])
            current["tasks"] += row["tasks"]
            current["size"] += row["size"]
            continue
        if current is not None:
            yield current
        current = dict(row)
    if current is not None:
        yield current


def _natural(line: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", line)]


def counted(rows: Sequence[Row]) -> dict[str, int]:
    """The number of marks of each kind, in the order of `HAPPENED`."""
    count: dict[str, int] = defaultdict(int)
    for row in rows:
        count[row["happened"]] += 1
    return {name: count[name] for name in (*HAPPENED.values(), COPIED) if count[name]}
