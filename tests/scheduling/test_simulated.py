"""The driver and the ledger over simulated workers: nothing is lost or done twice, and no worker idles for long."""

from __future__ import annotations

import math

import pytest

from tests.benchmarks.simulated import simulate


@pytest.mark.parametrize("misprediction", [0.0, 0.3, math.inf])
def test_every_trial_ends_once_and_late_ones_are_copied(misprediction):
    result = simulate(50, 5000, misprediction, seed=1)
    assert result["ended"] == 5000
    assert result["copies"] > 0
    # Work lost to failures: one attempt in a hundred, half of it; to stopped copies as much again at most.
    assert 0 < result["lost_share"] < 0.05


def test_with_predicted_times_the_workers_end_together():
    """Trials that take 1/100 of the whole at most leave a tail of the last ones, far below 5 %."""
    assert simulate(50, 5000, 0.0, seed=1)["makespan_over_bound"] == pytest.approx(1.0, abs=0.05)
