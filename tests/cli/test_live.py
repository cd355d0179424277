"""The live view, drawn into a console that remembers."""

from __future__ import annotations

import io
import logging
from dataclasses import replace

import pytest
from rich.console import Console

from phantom_dist.campaign.progress import Progress, SearchProgress
from phantom_dist.cli.current_work import Announcer, CurrentWork
from phantom_dist.cli.live import Countdown, line, render
from phantom_dist.core.activity import Activity
from phantom_dist.core.events import EventKind, RunEvent
from phantom_dist.core.result import duration


def progress(count: int = 3) -> Progress:
    searches = tuple(
        SearchProgress(
            name=f"zoo:m c{i} full sgd T=8",
            trials=i,
            expected=4,
            bracket=(1e-3, 1.01e-3) if i else None,
            finished=i == 2,
        )
        for i in range(count)
    )
    return Progress(
        name="zoo",
        elapsed=61,
        left=3700,
        done=3,
        expected=12,
        trials_per_second=0.05,
        outcomes={"kinematic": 1, "committed": 2},
        searches=searches,
        workers=2,
    )


def drawn(value) -> list[str]:
    console = Console(file=io.StringIO(), width=160)
    console.print(value)
    return console.file.getvalue().splitlines()


def test_the_line_says_done_outcomes_rate_and_time_left():
    work = CurrentWork()
    work.on_event(RunEvent(time=0.0, kind=EventKind.WORKER_READY, worker="worker-0"))
    said = line(progress(), work)
    assert "3 of about 12 trials (2 committed, 1 kinematic)" in said
    assert "1 of 3 curves finished" in said
    assert said.endswith("0.05 trials/s, 1 min 1 s so far, 1 h 1 min left, 2 workers; 1 worker waiting")


def test_until_a_worker_is_there_the_line_says_what_is_going_on_instead_of_zeros():
    now = 0.0
    work = CurrentWork(lambda: now)
    nothing = replace(progress(), done=0, left=None, workers=0)
    assert line(nothing, work) == "zoo: starting"
    work.began(Activity.STARTING, "starting Ray", long=True)
    now = 12.0
    assert line(nothing, work) == "zoo: starting Ray, 12 s"
    work.ended(Activity.STARTING, "starting Ray")
    work.on_event(RunEvent(time=0.0, kind=EventKind.PREPARED, activities={"starting": 12.0}))
    now = 15.0
    assert line(nothing, work) == "zoo: waiting for the first worker, 3 s"
    assert drawn(render(None, work)) == ["waiting for the first worker, 3 s"]


def test_the_view_shows_what_each_worker_does():
    now = 0.0
    work = CurrentWork(lambda: now)
    for event in (
        happened(EventKind.WORKER_READY, worker="worker-0"),
        happened(EventKind.WORKER_READY, worker="worker-1"),
        happened(EventKind.TASK_ADDED, task="p", task_kind="probe", size=3),
        happened(EventKind.TASK_ADDED, task="q", task_kind="probe", size=5),
        happened(EventKind.TASK_STARTED, task="p", task_kind="probe", size=3, worker="worker-0", model="m"),
        happened(EventKind.TASK_DONE, task="p", task_kind="probe", size=3, worker="worker-0", model="m"),
        happened(EventKind.TASK_STARTED, task="q", task_kind="probe", size=5, worker="worker-0", model="m"),
        happened(
            EventKind.TASK_STARTED,
            task="b",
            task_kind="train",
            size=24,
            worker="worker-1",
            model="m",
            attempt=2,
        ),
    ):
        work.on_event(event)
    now = 4.0
    assert work.line() == "probing 3 of 8 problems, training 24 trials"
    assert work.workers() == [
        "worker-0: probing 5 problems of m, 4 s",
        "worker-1: training 24 trials of m, attempt 2, 4 s",
    ]
    shown = drawn(render(progress(), work))
    assert "worker-1: training 24 trials of m, attempt 2, 4 s" in shown
    work.on_event(happened(EventKind.TASK_LOST, task="b", task_kind="train", size=24, worker="worker-1"))
    work.on_event(happened(EventKind.WORKER_REPLACED, worker="worker-1"))
    assert work.line() == "probing 3 of 8 problems"


def test_halves_of_a_probe_are_counted_as_it_was():
    work = CurrentWork()
    for event in (
        happened(EventKind.WORKER_READY, worker="w"),
        happened(EventKind.TASK_ADDED, task="p", task_kind="probe", size=5),
        happened(EventKind.TASK_SPLIT, task="p", task_kind="probe", size=5, parts=("x", "y")),
        happened(EventKind.TASK_DONE, task="x", task_kind="probe", size=2, worker="w"),
        happened(EventKind.TASK_STARTED, task="y", task_kind="probe", size=3, worker="w", model="m"),
    ):
        work.on_event(event)
    assert work.line() == "probing 2 of 5 problems"


def test_what_may_take_long_is_announced_unless_it_is_to_be_quiet(capsys, monkeypatch):
    announcer = Announcer()
    announcer.began(Activity.LOADING, "dequantising x.gguf", long=True)
    announcer.began(Activity.LOADING, "loading x", long=False)
    assert capsys.readouterr().err == "phantom-dist: dequantising x.gguf …\n"
    monkeypatch.setattr(logging.getLogger("phantom_dist"), "level", logging.ERROR)
    announcer.began(Activity.LOADING, "dequantising x.gguf", long=True)
    assert capsys.readouterr().err == ""


def happened(kind: EventKind, **more) -> RunEvent:
    return RunEvent(time=0.0, kind=kind, **more)


def test_bar_and_table_stand_on_lines_of_their_own():
    lines = drawn(render(progress(), CurrentWork()))
    (header,) = [text for text in lines if "bracket" in text]
    assert header.startswith("curve")
    assert any("0.001 … 0.00101" in text and "1 %" in text for text in lines)
    assert any("searching" in text for text in lines)


def test_many_searches_are_cut_and_counted():
    assert any("and 8 more" in text for text in drawn(render(progress(20), CurrentWork())))


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (7322, "2 h 2 min")])
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_a_countdown_goes_by_the_latest_pace(capsys, monkeypatch):
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    count = Countdown("paths probed")
    now = 10.0
    count(100, 103)  # a hundred small ones in ten seconds,
    now = 15.0
    count(101, 103)  # too soon to be shown
    now = 30.0
    count(102, 103)  # then ten seconds each
    now = 40.0
    count(103, 103)
    assert capsys.readouterr().err.splitlines() == [
        f"100 of 103 paths probed, {duration(0.3)} left",
        f"102 of 103 paths probed, {duration(10.0)} left",
        f"103 of 103 paths probed, {duration(0.0)} left",
    ]
