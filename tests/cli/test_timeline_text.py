"""`status --timeline` and `--why` as people read them, over a run through a storm in simulated time."""

from __future__ import annotations

import dataclasses
import json

import pytest

from phantom_dist.cli.timeline_text import timeline_text, why_text
from phantom_dist.scheduling.timeline import End
from tests.scheduling.test_timeline import Run


@pytest.fixture(scope="module")
def run() -> Run:
    return Run(3, 20, seed=1, bad=0.4)


def test_the_timeline_names_starts_shares_workers_and_every_retried_task(run):
    shown = json.loads(json.dumps(run.went.to_json()))
    text = timeline_text(shown)
    assert text.startswith("starts of the driver: 1\n")
    assert "on head, process 1: complete after" in text
    assert "time of all workers, " in text
    for share, seconds in shown["shares"].items():
        assert (f"{share} " in text) or not seconds
    for worker in run.executor.workers:
        assert f"\n{worker}" in text
    assert f"more than one attempt, or failed: {len(shown['tasks'])}" in text
    assert "worker lost after" in text
    assert "machine taken away after" in text


def test_why_tells_each_attempt_with_its_reason(run):
    split = next(s for s in run.went.stories() if s.split_from)
    why = {
        "trial_id": "t1",
        "task": split.task,
        "tasks": [s.to_json() for s in run.went.ancestry(split.task)],
        "stored": 3,
    }
    lines = why_text(json.loads(json.dumps(why))).splitlines()
    assert lines[0] == f"trial t1 is in batch {split.task}"
    whole = run.went.ancestry(split.task)[0]
    assert lines[1].startswith(f"probe {whole.task} (4 problems of m")
    assert f"  split into {' and '.join(whole.split_into)}" in lines
    attempts = [line for line in lines if " attempt " in line]
    assert len(attempts) == sum(len(story.attempts) for story in run.went.ancestry(split.task))
    bad = [a for a in whole.attempts if a.end not in (End.DONE, End.SUPERSEDED)]
    assert sum("(the storm: " in line for line in attempts) >= len(bad) > 0


@pytest.mark.parametrize("end", [End.LOST, End.CUT_OFF, End.PREEMPTED])
def test_why_tells_of_a_task_that_was_stored_although_no_attempt_reported_it(run, end):
    """Its worker and then its driver died after the rows were written: the next start doesn't run it again."""
    story = next(s for s in run.went.stories() if s.attempts[-1].end is End.DONE)
    attempt = dataclasses.replace(story.attempts[-1], end=end, message="the worker died")
    struck = dataclasses.replace(story, attempts=(attempt,)).to_json()
    why = {"trial_id": "t1", "task": story.task, "tasks": [struck], "stored": 3}
    found = "  its 3 trial(s) are stored: they had been written before the worker or the driver ended"
    assert found in why_text(why)
    for other in (why | {"stored": 0}, why | {"tasks": [story.to_json()]}):
        assert "are stored" not in why_text(other)


def test_a_run_without_events_says_so():
    assert timeline_text(None) == "timeline: this run recorded no events"


def test_a_run_that_never_had_a_worker():
    started = {"starts": [], "worker_seconds": 0.0, "workers": [], "tasks": [], "shares": {}}
    assert "no worker was ever ready" in timeline_text(started)
