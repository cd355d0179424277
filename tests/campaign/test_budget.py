"""A run that stops at a limit or is cancelled from another shell, and then continues to the same results."""

from __future__ import annotations

import threading

import pytest

import phantom_dist
from phantom_dist.campaign.budget import Budget
from phantom_dist.core.errors import InputError
from phantom_dist.traces import RunDirectory, Store
from phantom_dist.traces.digest import results_digest


def run(sweep, out, **how):
    return phantom_dist.run(sweep, out, executor="inprocess", **how)


def digest(out):
    return results_digest(RunDirectory(Store(out)))


def test_max_trials_begins_no_further_batch_and_the_rest_can_follow(sweep, tmp_path):
    whole = run(sweep, tmp_path / "whole")
    part = run(sweep, tmp_path / "part", max_trials=1)
    assert (part.state, part.reason) == (
        "interrupted",
        f"--max-trials 1: {part.trials.done} trials were started",
    )
    assert 0 < part.trials.done < whole.trials.done
    resumed = phantom_dist.resume(tmp_path / "part", executor="inprocess")
    assert (resumed.state, resumed.reason) == ("complete", None)
    assert digest(tmp_path / "part") == digest(tmp_path / "whole")


def test_max_hours_stops_in_order(sweep, tmp_path):
    part = run(sweep, tmp_path, max_hours=1e-7)
    assert part.state == "interrupted"
    assert part.reason.startswith("--max-hours 1e-07: 0.00 hours have passed")


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"hours": 0.0}, r"--max-hours 0: allowed is a finite number above 0"),
        ({"hours": float("nan")}, r"--max-hours nan"),
        ({"trials": 0}, r"--max-trials 0: allowed is a whole number from 1"),
    ],
)
def test_a_limit_that_is_none_is_refused(limits, message):
    with pytest.raises(InputError, match=message):
        Budget(**limits)


def test_a_run_is_cancelled_from_elsewhere_and_can_be_resumed(sweep, tmp_path, monkeypatch):
    monkeypatch.setattr("phantom_dist.campaign.run_driver.HEARTBEAT_S", 0.0)
    asked = []

    def observer(progress):
        if progress.done and not asked:
            other = threading.Thread(target=lambda: asked.append(phantom_dist.cancel(tmp_path / "run")))
            other.start()
            other.join()

    with pytest.raises(KeyboardInterrupt):
        run(sweep, tmp_path / "run", observer=observer)
    assert asked[0].state == "running"
    assert phantom_dist.status(tmp_path / "run").state == "interrupted"
    with pytest.raises(InputError, match="no run is live here"):
        phantom_dist.cancel(tmp_path / "run")
    phantom_dist.resume(tmp_path / "run", executor="inprocess")
    run(sweep, tmp_path / "whole")
    assert digest(tmp_path / "run") == digest(tmp_path / "whole")
