"""Where a run's time went, and why a trial or a batch took as long, or as many attempts, as it did."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from phantom_dist.core.errors import InputError
from phantom_dist.scheduling.timeline import Story, Timeline
from phantom_dist.scheduling.timeline_reader import timeline
from phantom_dist.traces import RunDirectory, Store
from phantom_dist.traces.claim import alive

SHOWN = 8
"""Ids that a message lists where several begin alike."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """What happened to a task, preceded by what happened to the tasks that it was split from.

    Attributes:
        trial: the id of the trial in question; None if the question was about a task.
        task: its batch, or the task itself.
        stories: the oldest first; the last one is the task's.
    """

    trial: str | None
    task: str
    stories: tuple[Story, ...]

    def to_json(self) -> dict[str, Any]:
        """The object `why` of `status --json`."""
        return {
            "trial_id": self.trial,
            "task": self.task,
            "tasks": [story.to_json() for story in self.stories],
        }


def timeline_of(location: str | os.PathLike[str]) -> Timeline | None:
    """The timeline of a run, live or dead; None where it recorded no events, as older versions did.

    Raises:
        StoreError: the events can't be read.
    """
    directory = RunDirectory(Store(location))
    state = directory.read_state()
    return timeline(directory.events(), until=float(state["heartbeat_at"]) if alive(state) else None)


def explain(location: str | os.PathLike[str], name: str) -> Explanation:
    """What happened to a trial, a batch or a probe of a run.

    Args:
        location: the run directory.
        name: the beginning of a stored trial's id, or of a task's.

    Raises:
        InputError: the run recorded no events, nothing is called so, or several are.
    """
    run = timeline_of(location)
    if run is None:
        raise InputError(f"{location}: this run recorded no events, so nothing is known of {name}.")
    trials = RunDirectory(Store(location)).trials().select(["trial_id", "batch"]).to_pylist()
    batches = {row["trial_id"]: row["batch"] for row in trials}
    tasks = dict.fromkeys(attempt.task for attempt in run.attempts)
    matches = [key for key in (*tasks, *batches) if key.startswith(name)]
    if len(matches) != 1:
        shown = ", ".join(matches[:SHOWN])
        what = f"{len(matches)} of them: {shown}" if matches else "no task or stored trial"
        raise InputError(f"--why {name}: {what} in {location} has an id that begins so.")
    (key,) = matches
    task = batches.get(key, key)
    trial = key if key in batches else None
    return Explanation(trial=trial, task=task, stories=tuple(run.ancestry(task)))
