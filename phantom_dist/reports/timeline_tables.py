"""A run's timeline as text, which the page shows beside the figure."""

from __future__ import annotations

from dataclasses import dataclass

from phantom_dist.core.events import shortened, task_name
from phantom_dist.core.result import duration, short_duration
from phantom_dist.reports.tables import percent
from phantom_dist.scheduling.timeline import ENDINGS, Attempt, Story, Timeline

MOST_STORIES = 100
"""How many eventful tasks the page lists; `phantom-dist status DIR --why TASK` shows any of them."""


@dataclass(frozen=True, kw_only=True)
class Share:
    """A part of the workers' time, as text."""

    name: str
    time: str
    share: str


@dataclass(frozen=True, kw_only=True)
class EventfulTask:
    """A task that took more than one attempt or has no result: its name, and a line for each attempt in order."""

    task: str
    attempts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RunSummary:
    """A run's timeline in numbers.

    Attributes:
        run: name of the run.
        starts: a line for each start of its driver.
        workers: how many distinct workers there were.
        time: the time of all workers together.
        utilisation: the share of that time spent on attempts whose results were kept.
        shares: how that time was spent.
        eventful: how many tasks took more than one attempt or have no result.
        stories: the first `MOST_STORIES` of them.
    """

    run: str
    starts: tuple[str, ...]
    workers: int
    time: str
    utilisation: str
    shares: tuple[Share, ...]
    eventful: int
    stories: tuple[EventfulTask, ...]


def summary_of(run: str, timeline: Timeline) -> RunSummary:
    """Summarise a run's timeline."""
    total, shares, stories = timeline.worker_seconds, timeline.shares(), timeline.stories()
    useful = timeline.utilisation
    return RunSummary(
        run=run,
        starts=tuple(
            f"{duration(start.seconds)}, of which {duration(start.start_s)} until the first worker was ready: "
            f"{start.end}"
            for start in timeline.starts
        ),
        workers=len({worker.name for worker in timeline.workers}),
        time=duration(total),
        utilisation="unknown" if useful is None else percent(useful),
        shares=tuple(
            Share(name=name, time=short_duration(seconds), share=percent(seconds / total))
            for name, seconds in shares.items()
            if seconds > 0
        ),
        eventful=len(stories),
        stories=tuple(map(_eventful_task, stories[:MOST_STORIES])),
    )


def _eventful_task(story: Story) -> EventfulTask:
    first = story.attempts[0]
    lines = [_attempt(attempt) for attempt in story.attempts]
    if story.split_into:
        lines.append(f"split into {' and '.join(story.split_into)}")
    if story.given_up is not None:
        lines.append(f"given up: {shortened(story.given_up)}")
    name = task_name(story.task, first.task_kind, first.size, first.model)
    return EventfulTask(task=name[0].upper() + name[1:], attempts=tuple(lines))


def _attempt(attempt: Attempt) -> str:
    copy = ", as a copy" if attempt.copy else ""
    why = f" ({shortened(attempt.message)})" if attempt.message else ""
    return f"{attempt.worker}{copy}: {ENDINGS[attempt.end]} after {short_duration(attempt.seconds)}{why}"
