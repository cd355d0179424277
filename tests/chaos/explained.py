"""Whether a run's timeline explains what was done to it: killed workers as lost attempts, killed drivers as starts.

A worker that was at a task when it was killed must have lost it, with a reason, and the task must have come to its end
otherwise: by another attempt, in parts, or stored before the kill, where the next start of the driver finds it. One
that idled, or wasn't ready yet, must never be done with anything later. A driver that was killed must have left a start
without an end, and another after it; or its run was complete already.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from phantom_dist.scheduling.timeline import Attempt, End, Timeline
from phantom_dist.scheduling.timeline_reader import timeline
from phantom_dist.traces import RunDirectory, Store
from tests.chaos.hit import Hit

NOTICED_S = 5.0
"""An answer that was on its way when its worker was killed is taken in by then."""

EARLY_S = 90.0
"""A driver that is killed before it has claimed its run leaves no mark there; it is no older than this then."""

DEATHS = (End.LOST, End.PREEMPTED, End.OUT_OF_MEMORY)
ENDS = (*DEATHS, End.STUCK, End.SUPERSEDED, End.CUT_OFF)


def unexplained(location: Path, hits: Iterable[Hit]) -> list[str]:
    """What the timeline of a run that is through leaves open, in words; empty where it explains every hit."""
    went = timeline(RunDirectory(Store(location)).events())
    if went is None:
        return ["there are no events"]
    found = list(_untied(went))
    for hit in hits:
        why = _of_driver(went, hit) if hit.who == "driver" else _of_worker(went, hit)
        if why:
            found.append(f"{hit.who} {hit.process}, killed at {hit.time:.1f}: {why}")
    return found


def _of_driver(went: Timeline, hit: Hit) -> str:
    mine = [start for start in went.starts if start.process == hit.process]
    if not mine:
        return "" if hit.age < EARLY_S else f"no start of this driver, which had run for {hit.age:.0f} s"
    if mine[-1].how == "complete":
        return ""  # it was through and on its way out, which takes seconds on a busy machine
    if mine[-1].how is not None:
        return f"its start ended with {mine[-1].how!r}"
    return "" if mine[-1].number < len(went.starts) else "nothing follows its start"


def _of_worker(went: Timeline, hit: Hit) -> str:
    mine = [a for a in went.attempts if a.process == hit.process and a.began <= hit.time + NOTICED_S]
    for attempt in mine:
        if attempt.end is End.RUNNING:
            return f"attempt {attempt.lease} at {attempt.task} runs for ever"
        if attempt.end is End.DONE and attempt.ended > hit.time + NOTICED_S:
            return f"attempt {attempt.lease} at {attempt.task} is done {attempt.ended - hit.time:.0f} s later"
        if attempt.began <= hit.time < attempt.ended - NOTICED_S and attempt.end not in ENDS:
            return f"attempt {attempt.lease} at {attempt.task} ended as {attempt.end}"
    struck = [attempt for attempt in mine if attempt.end in DEATHS]
    return next((f"{a.task} was lost without a reason" for a in struck if not a.message), "")


def _untied(went: Timeline) -> Iterator[str]:
    """Tasks with a lost attempt that nothing follows."""
    for story in went.stories():
        last: Attempt = story.attempts[-1]
        done = any(attempt.end is End.DONE for attempt in story.attempts)
        # One whose driver ended too after it was stored is never started again: the next start finds its rows.
        found = last.end in (End.CUT_OFF, *DEATHS) and last.start < len(went.starts)
        if not done and not story.split_into and story.given_up is None and not found:
            yield f"task {story.task} ended as {last.end} and nothing follows"
