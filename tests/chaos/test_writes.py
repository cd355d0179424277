"""Killed inside every step of a write, a run loses nothing, doubles nothing and leaves no torn file."""

from __future__ import annotations

import pytest

from phantom_dist.scheduling.timeline_reader import timeline
from phantom_dist.traces import RunDirectory, Store
from tests.chaos.object_store import run_in_store
from tests.chaos.sweep import WHOLE, judge, run_here, train_here
from tests.chaos.writes import STEPS, forked, kill_writes, on_full_disk, with_clock


def test_thirty_kills_inside_writes(undisturbed, tmp_path):
    verdicts, ends = [], []

    def each(out):
        verdicts.append(judge(out, undisturbed))
        ends.append([start.end for start in timeline(RunDirectory(Store(out)).events()).starts])

    kills = kill_writes(run_here, tmp_path, 30, 0, each)
    assert kills.total() >= 30
    assert set(kills) == set(STEPS), "every step was hit"
    assert verdicts == [WHOLE] * len(verdicts)
    assert verdicts
    assert all(of_one[-1] == "complete" and set(of_one[:-1]) <= {"died"} for of_one in ends)
    assert 0 < sum(len(of_one) - 1 for of_one in ends) <= 30, (
        "those that died before they had claimed the run left none"
    )


def test_kills_inside_writes_of_a_sweep_over_a_training_set(tmp_path):
    """Its data are written too, and each of its rounds has several batches."""
    assert forked(lambda: train_here(tmp_path / "undisturbed")) == 0
    verdicts = []
    (tmp_path / "killed").mkdir()
    kill_writes(
        train_here,
        tmp_path / "killed",
        12,
        0,
        lambda out: verdicts.append(judge(out, tmp_path / "undisturbed")),
    )
    assert verdicts
    assert set(verdicts) == {WHOLE}


def test_a_clock_that_jumps(undisturbed, tmp_path):
    assert with_clock(run_here, tmp_path / "run", seed=0) == 0
    assert judge(tmp_path / "run", undisturbed) == WHOLE


def test_a_full_disk_stops_the_run_and_it_goes_on_where_there_is_room(undisturbed, tmp_path):
    full, after = on_full_disk(run_here, tmp_path / "run", room=300_000)
    assert full != 0
    assert after == 0
    assert judge(tmp_path / "run", undisturbed) == WHOLE


@pytest.mark.slow
def test_kills_inside_uploads_to_an_object_store_that_fails_now_and_then(undisturbed, tmp_path):
    kills, said = run_in_store(tmp_path, 4, seed=0)
    assert kills.total() == 4
    assert sum(said["faults"].values()) >= 0.05 * said["requests"], said
    assert judge(tmp_path / "run", undisturbed) == WHOLE
