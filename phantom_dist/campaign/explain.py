"""Why a trial or a batch took as long, or as many attempts, as it did: what the run's events tell of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from phantom_dist.core.errors import InputError
from phantom_dist.scheduling.timeline import Story, Timeline
from phantom_dist.traces import RunDirectory

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


def explain(directory: RunDirectory, timeline: Timeline | None, name: str) -> Explanation:
    """What happened to a trial, a batch or a probe.

    Args:
        directory: the run's.
        timeline: the run's.
        name: the beginning of a stored trial's id, or of a task's.

    Raises:
        InputError: the run recorded no events, nothing is called so, or several are.
    """
    if timeline is None:
        raise InputError(
            f"{directory.store.location}: this run recorded no events, so nothing is known of {name}."
        )
    trials = directory.trials().select(["trial_id", "batch"]).to_pylist()
    batches = {row["trial_id"]: row["batch"] for row in trials}
    tasks = dict.fromkeys(attempt.task for attempt in timeline.attempts)
    found = [key for key in (*tasks, *batches) if key.startswith(name)]
    if len(found) != 1:
        what = "no task or stored trial" if not found else f"{len(found)} of them: {', '.join(found[:SHOWN])}"
        raise InputError(f"--why {name}: {what} in {directory.store.location} has an id that begins so.")
    (key,) = found
    task = batches.get(key, key)
    trial = key if key in batches else None
    return Explanation(trial=trial, task=task, stories=tuple(timeline.ancestry(task)))
