"""The live view, drawn into a console that remembers."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from phantom_dist.campaign.progress import Progress, SearchProgress
from phantom_dist.cli.live import Countdown, line, render
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
    said = line(progress())
    assert "3 of about 12 trials (2 committed, 1 kinematic)" in said
    assert "1 of 3 curves finished" in said
    assert "0.05 trials/s, 1 min 1 s so far, 1 h 1 min left, 2 workers" in said


def test_bar_and_table_stand_on_lines_of_their_own():
    lines = drawn(render(progress()))
    (header,) = [text for text in lines if "bracket" in text]
    assert header.startswith("curve")
    assert any("0.001 … 0.00101" in text and "1 %" in text for text in lines)
    assert any("searching" in text for text in lines)


def test_many_searches_are_cut_and_counted():
    assert any("and 8 more" in text for text in drawn(render(progress(20))))


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
