"""The timeline of runs whose workers fail, die, are taken away, run out of memory and get stuck, in simulated time."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phantom_dist.core.events import EventKind, RunEvent
from phantom_dist.core.trial import Context, Optimizer, Problem
from phantom_dist.scheduling.tasks import probe_task
from phantom_dist.scheduling.timeline import SHARES, End, Timeline
from phantom_dist.scheduling.timeline_reader import timeline

from .stormy import Everything, Stormy, weathered

CONTEXT = Context(id="c", text="a b", target=" c", competitor=" d")
SIZE = 4


def tasks(count: int) -> list:
    """So many tasks of `SIZE` problems and 10 s each."""
    return [
        probe_task(
            (
                Problem(
                    model=f"m{number % 3}",
                    context=CONTEXT,
                    method="full",
                    optimizer=Optimizer(name="sgd"),
                    steps=SIZE * number + part + 1,
                )
                for part in range(SIZE)
            ),
            seconds=10.0,
        )
        for number in range(count)
    ]


class Run:
    """A run with failures: the failures, and the timeline of its events."""

    def __init__(self, workers: int, count: int, seed: int, bad: float) -> None:
        self.executor, self.owner = Stormy(workers, seed, bad), Everything()
        self.events = weathered(self.executor, tasks(count), self.owner)
        went = timeline(self.events)
        assert went is not None
        self.went: Timeline = went


RUNS = st.builds(
    Run, st.integers(1, 5), st.integers(1, 20), st.integers(0, 10**6), st.sampled_from([0.0, 0.2, 0.6])
)


@given(RUNS)
@settings(max_examples=60, deadline=None)
def test_every_kill_is_there_with_its_task_and_what_came_of_it(run):
    by_lease = {attempt.lease: attempt for attempt in run.went.attempts}
    assert set(by_lease) == {command.lease for command in run.executor.started}, "one attempt for each lease"
    for kill in run.executor.kills:
        attempt = by_lease[kill.lease]
        assert (attempt.worker, attempt.process, attempt.task) == (kill.worker, kill.process, kill.task)
        assert (attempt.end.value, attempt.message) == (kill.how, f"the storm: {kill.how}")
        story = run.went.story(kill.task)
        later = [a for a in story.attempts if a.lease > kill.lease]
        beside = [a for a in story.attempts if a.began < attempt.ended <= a.ended and a is not attempt]
        assert later or beside or story.split_into or story.given_up, "it says how the task went on"
    assert len(run.executor.kills) == sum(
        a.end in (End.LOST, End.PREEMPTED, End.FAILED, End.OUT_OF_MEMORY) for a in run.went.attempts
    )


@given(RUNS)
@settings(max_examples=60, deadline=None)
def test_every_problem_ends_once_in_the_stories_as_well(run):
    whole = {task.id for task in tasks(20)}
    done = sum(attempt.size for attempt in run.went.attempts if attempt.end is End.DONE)
    assert done + len(run.owner.given_up) == SIZE * len({a.task for a in run.went.attempts} & whole)
    for attempt in run.went.attempts:
        oldest = run.went.ancestry(attempt.task)[0]
        assert oldest.task in whole, "each half leads back to what it was split from"
    assert not run.owner.leases, "all leases are over"


@given(RUNS)
@settings(max_examples=60, deadline=None)
def test_the_workers_time_is_divided_without_rest(run):
    for worker in run.went.workers:
        assert sum(worker.shares.values()) == pytest.approx(worker.seconds)
        assert all(seconds >= -1e-6 for seconds in worker.shares.values())
        mine = sorted((a for a in run.went.attempts if a.worker == worker.name), key=lambda a: a.began)
        busy = sum(attempt.seconds for attempt in mine)
        unbusy = worker.shares["waiting"] + worker.shares["replacing"]
        assert busy + unbusy == pytest.approx(worker.seconds)
        assert all(a.ended <= b.began + 1e-6 for a, b in pairwise(mine))
    assert set(run.went.shares()) == set(SHARES)
    if not run.executor.kills:
        assert run.went.shares()["lost"] == sum(a.seconds for a in run.went.attempts if a.end is not End.DONE)


@given(RUNS, st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_a_driver_that_dies_at_any_moment_leaves_a_timeline(run, share):
    """The next start is distinguished from it."""
    kept = run.events[: 1 + int(share * (len(run.events) - 2))]
    died = timeline(kept)
    assert (died.starts[0].how, died.starts[0].end) == (None, "died")
    assert not [attempt for attempt in died.attempts if attempt.end is End.RUNNING]
    live = timeline(kept, until=kept[-1].time + 100)
    assert live.starts[0].end == "running"
    assert not [attempt for attempt in live.attempts if attempt.end is End.CUT_OFF]
    assert live.starts[0].seconds == pytest.approx(kept[-1].time - kept[0].time + 100)
    both = timeline([*kept, *run.events])
    assert [start.end for start in both.starts] == ["died", "complete"]
    assert [a for a in both.attempts if a.start == 2] == [
        a.__class__(**{name: getattr(a, name) for name in a.__slots__} | {"start": 2})
        for a in run.went.attempts
    ]
    cut = [a for a in both.attempts if a.end is End.CUT_OFF]
    assert len(cut) == sum(a.end is End.RUNNING for a in live.attempts)


def test_a_storm_has_all_there_is():
    """All kinds of failures that the tests above cover do occur."""
    ends, incidents = Counter(), Counter()
    for seed in range(6):
        run = Run(4, 20, seed, 0.5)
        ends.update(attempt.end for attempt in run.went.attempts)
        incidents.update(incident.kind for incident in run.went.incidents)
        incidents["copied"] += sum(attempt.copy for attempt in run.went.attempts)
    wanted = {End.DONE, End.FAILED, End.OUT_OF_MEMORY, End.LOST, End.PREEMPTED, End.SUPERSEDED}
    assert wanted <= set(ends)
    assert {"split", "given_up", "copied"} <= {kind for kind, count in incidents.items() if count}


def test_no_events_make_no_timeline():
    assert timeline([]) is None


def event(time: float, kind: EventKind, **more) -> RunEvent:
    return RunEvent(time=time, kind=kind, **more)


TASK = {"task": "b", "task_kind": "train", "size": 2, "model": "m", "worker": "w", "lease": 1, "attempt": 1}


def test_a_stuck_task_and_its_retry():
    retry = TASK | {"lease": 2, "attempt": 2}
    went = timeline(
        [
            event(0, EventKind.RUN_STARTED, host="h", process=9),
            event(1, EventKind.PREPARED, activities={"starting": 0.5, "loading": 0.25}),
            event(2, EventKind.WORKER_READY, worker="w", host="h", process=10),
            event(2, EventKind.TASK_ADDED, task="b"),
            event(3, EventKind.TASK_STARTED, **TASK, predicted_s=1.0),
            event(13, EventKind.TASK_STUCK, **TASK, message="no end"),
            event(13, EventKind.WORKER_REPLACED, worker="w"),
            event(15, EventKind.WORKER_READY, worker="w", host="h", process=11),
            event(15, EventKind.TASK_STARTED, **retry),
            event(20, EventKind.TASK_DONE, **retry, activities={"loading": 1.0, "training": 3.0}),
            event(22, EventKind.RUN_ENDED, message="complete"),
        ]
    )
    (story,) = went.stories()
    assert [(a.end, a.process, a.seconds) for a in story.attempts] == [(End.STUCK, 10, 10), (End.DONE, 11, 5)]
    shown = went.to_json()
    assert {name: s for name, s in shown["shares"].items() if s} == {
        "loading": 1.0,
        "training": 3.0,
        "overhead": 1.0,
        "lost": 10.0,
        "replacing": 2.0,
        "waiting": 3.0,
    }
    assert shown["utilisation"] == pytest.approx(0.2)
    assert (shown["seconds"], shown["start_seconds"], shown["worker_seconds"]) == (22, 2, 20)
    assert shown["starts"][0]["activities"] == {"starting": 0.5, "loading": 0.25}
    assert shown["ends"] == {"done": 1, "stuck": 1}
    assert [a["reason"] for a in shown["tasks"][0]["attempts"]] == ["no end", None]


def test_a_task_that_is_done_at_once_is_no_story():
    went = timeline(
        [
            event(0, EventKind.RUN_STARTED),
            event(2, EventKind.WORKER_READY, worker="w"),
            event(3, EventKind.TASK_STARTED, **TASK),
            event(4, EventKind.TASK_DONE, **TASK),
            event(4, EventKind.RUN_ENDED),
        ]
    )
    assert went.stories() == []
    assert went.story("b").attempts[0].end is End.DONE
