"""Killed inside every step of a write, a run loses nothing, doubles nothing and leaves no torn file."""

from __future__ import annotations

import pytest
import torch

import phantom_dist
import phantom_dist.campaign
import phantom_dist.scheduling.inprocess
from tests.chaos.sweep import Verdict, judge, sweep
from tests.chaos.writes import STEPS, forked, kill_writes, on_full_disk, with_clock

WHOLE = Verdict(lost=0, duplicated=0, torn=0, digest_equal=True)


def run(out):
    phantom_dist.run(sweep(), out, executor="inprocess")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    torch.set_num_threads(1)  # before the first fork: a thread pool doesn't survive one
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    assert forked(lambda: run(out)) == 0
    return out


def test_thirty_kills_inside_writes(undisturbed, tmp_path):
    verdicts = []
    kills = kill_writes(run, tmp_path, 30, 0, lambda out: verdicts.append(judge(out, undisturbed)))
    assert kills.total() >= 30
    assert set(kills) == set(STEPS), "every step was hit"
    assert verdicts == [WHOLE] * len(verdicts)
    assert verdicts


def test_a_clock_that_jumps(undisturbed, tmp_path):
    assert with_clock(run, tmp_path / "run", seed=0) == 0
    assert judge(tmp_path / "run", undisturbed) == WHOLE


def test_a_full_disk_stops_the_run_and_it_goes_on_where_there_is_room(undisturbed, tmp_path):
    full, after = on_full_disk(run, tmp_path / "run", room=300_000)
    assert full != 0
    assert after == 0
    assert judge(tmp_path / "run", undisturbed) == WHOLE
