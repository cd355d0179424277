"""The timeline on the page: bars and marks of a run with many faults; no timeline where a run recorded no events."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phantom_dist import reports
from phantom_dist.reports import RunTables, figures
from phantom_dist.reports.figures.timeline import TIMELINE
from phantom_dist.reports.timeline_rows import MOST_BARS, NOTHING, bars, lines, marks, restarts, unit_for
from phantom_dist.scheduling.timeline import End
from phantom_dist.scheduling.timeline_reader import timeline
from tests.scheduling.test_timeline import RUNS, Run
from tests.stored_runs import unpacked

from .browser import CHROMIUM, Opened, chromium


@pytest.fixture(scope="module")
def storm() -> Run:
    return Run(11, 20, seed=3, bad=0.5)


def test_every_attempt_is_a_bar_and_every_misfortune_a_mark(storm):
    unit = unit_for([storm.went])
    drawn, happened = bars("r", storm.went, unit), marks("r", storm.went, unit)
    assert len(drawn) == len(storm.went.attempts)
    assert lines(drawn)[:3] == ["worker-0", "worker-1", "worker-2"]
    assert lines(drawn)[-1] == "worker-10", "in their natural order"
    lost = [a for a in storm.went.attempts if a.end in (End.LOST, End.PREEMPTED)]
    assert sum(m["happened"] in ("worker lost", "machine taken away") for m in happened) == len(lost)
    length = sum(start.seconds for start in storm.went.starts) / unit.seconds
    assert all(0 <= row["begun"] <= row["ended"] <= length * (1 + 1e-9) for row in drawn)


def test_the_time_between_two_starts_is_left_out(storm):
    later = [replace(event, time=event.time + 86400) for event in storm.events]
    twice = timeline([*storm.events, *later])
    unit = unit_for([twice])
    (again,) = restarts(twice, unit)
    length = storm.went.starts[0].seconds / unit.seconds
    assert again == pytest.approx(length)
    assert max(row["ended"] for row in bars("r", twice, unit)) <= 2 * length * (1 + 1e-9)


def test_so_many_bars_that_none_could_be_seen_are_joined(storm, monkeypatch):
    monkeypatch.setattr("phantom_dist.reports.timeline_rows.MOST_BARS", 12)
    joined = bars("r", storm.went, unit_for([storm.went]))
    assert sum(row["tasks"] for row in joined) == len(storm.went.attempts)
    assert len(joined) < len(storm.went.attempts) < MOST_BARS
    nothing = [row for row in joined if row["did"] == NOTHING]
    assert all(row["tasks"] == 1 for row in nothing), "what went wrong stays apart"


@given(RUNS, st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_joining_ends_and_keeps_every_task_on_its_line(run, most):
    """Also where more bars have no result than `MOST_BARS` allows: those are never merged."""
    unit = unit_for([run.went])
    apart = bars("r", run.went, unit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("phantom_dist.reports.timeline_rows.MOST_BARS", most)
        joined = bars("r", run.went, unit)
    nothing = sum(row["did"] == NOTHING for row in apart)
    assert nothing <= len(joined) <= len(apart)
    for name in ("tasks", "size"):
        assert sums(joined, name) == sums(apart, name)
    assert extent(joined) == extent(apart)


def sums(rows: list[dict], name: str) -> dict:
    """The sum of a column for each line and kind of bar."""
    total = Counter()
    for row in rows:
        total[row["line"], row["did"]] += row[name]
    return total


def extent(rows: list[dict]) -> dict[str, tuple[float, float]]:
    return {
        line: (
            min(row["begun"] for row in rows if row["line"] == line),
            max(row["ended"] for row in rows if row["line"] == line),
        )
        for line in lines(rows)
    }


def test_a_run_without_events_has_no_timeline(tmp_path):
    old = reports.read_run(unpacked("v1", tmp_path))
    assert figures.timeline(old) is None
    page = reports.render([old])
    assert "Where the time went" not in page
    assert 'data-figure="timeline"' not in page


def test_its_numbers_are_there_in_words(tiny_run: RunTables, storm):
    rows = reports.Rows.of([replace(tiny_run, timeline=storm.went)])
    words = TIMELINE.alt_text(rows)
    assert words.startswith("Lines of 11 workers over ")
    lost = sum(a.end is End.LOST for a in storm.went.attempts)
    assert f"{lost} worker lost" in words


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_the_page_draws_it_and_tells_the_stories(tiny_run: RunTables, storm, tmp_path: Path):
    reports.write([replace(tiny_run, timeline=storm.went)], tmp_path / "page.html")
    with chromium() as browser:
        page = Opened(browser, tmp_path / "page.html")
        assert page.marks("timeline") >= len(storm.went.attempts)
        told = page.tab.locator('section[aria-labelledby="h-where-the-time-went"] details')
        assert f"{len(storm.went.stories())} tasks of tiny" in told.locator("summary").inner_text()
        assert "the storm: lost" in told.inner_html()
        assert page.said == []
