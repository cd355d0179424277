"""Where a run's time went, and the history of a trial or a batch."""

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
"""Number of ids that a message lists if several have the same beginning."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """The history of a task, and of the tasks from which it was split.

    Attributes:
        trial: the id of the requested trial; None if a task was requested.
        task: the trial's batch, or the requested task.
        stories: oldest first; the last one is the task's.
        stored: number of the task's trials that are stored.
    """

    trial: str | None
    task: str
    stories: tuple[Story, ...]
    stored: int = 0

    def to_json(self) -> dict[str, Any]:
        """The object `why` of `status --json`."""
        return {
            "trial_id": self.trial,
            "task": self.task,
            "tasks": [story.to_json() for story in self.stories],
            "stored": self.stored,
        }


def timeline_of(location: str | os.PathLike[str]) -> Timeline | None:
    """The timeline of a run, live or dead; None if it recorded no events, as with older versions.

    Raises:
        StoreError: the events can't be read.
    """
    directory = RunDirectory(Store(location))
    state = directory.read_state()
    return timeline(directory.events(), until=float(state["heartbeat_at"]) if alive(state) else None)


def explain(location: str | os.PathLike[str], name: str) -> Explanation:
    """The history of a trial, a batch or a probe of a run.

    Args:
        location: the run directory.
        name: the beginning of the id of a stored trial or a task.

    Raises:
        InputError: the run recorded no events, or not exactly one id begins like this.
    """
    run = timeline_of(location)
    if run is None:
        raise InputError(f"{location}: this run recorded no events, so there is no history of {name}.")
    trials = RunDirectory(Store(location)).trials().select(["trial_id", "batch"]).to_pylist()
    batches = {row["trial_id"]: row["batch"] for row in trials}
    tasks = dict.fromkeys(attempt.task for attempt in run.attempts)
    matches = [key for key in (*tasks, *batches) if key.startswith(name)]
    if len(matches) != 1:
        if not matches:
            raise InputError(
                f"--why {name}: no task or stored trial in {location} has an id that begins like this."
            )
        shown = ", ".join(matches[:SHOWN])
        raise InputError(f"--why {name}: {len(matches)} ids in {location} begin like this: {shown}.")
    (key,) = matches
    task = batches.get(key, key)
    trial = key if key in batches else None
    stored = sum(batch == task for batch in batches.values())
    return Explanation(trial=trial, task=task, stories=tuple(run.ancestry(task)), stored=stored)
