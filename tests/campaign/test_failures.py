"""Trials, probes, memory and disks that fail: each is named, and nothing else is lost."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest

import phantom_dist
from phantom_dist.core.errors import OutOfMemory, StoreError
from phantom_dist.scheduling import worker
from phantom_dist.traces import RunDirectory, Store

from .runs import digest, rows, run


@pytest.fixture
def training(monkeypatch):
    """`training(obstacle)`: call `obstacle` with the trials of every batch before it is trained."""
    from phantom_dist.engines.lanes import engine
    from phantom_dist.engines.memory import out_of_memory_named
    from phantom_dist.engines.single import SingleEngine

    train, run_alone = engine.train, SingleEngine.run

    def put(obstacle):
        def hindered(loaded, trials, *more):
            obstacle(trials)
            return train(loaded, trials, *more)

        def hindered_alone(self, loaded, trials):
            with out_of_memory_named():
                obstacle(trials)
            return run_alone(self, loaded, trials)

        monkeypatch.setattr(engine, "train", hindered)
        monkeypatch.setattr(SingleEngine, "run", hindered_alone)

    yield put
    monkeypatch.undo()


def test_a_trial_that_runs_out_of_memory_ends_alone(sweep, tmp_path, training):
    sweep["learning_rates"] = [1e-3, 2e-3, 3e-3]

    def scarce(trials):
        if any(trial.learning_rate == 2e-3 for trial in trials):
            raise MemoryError("no room")

    training(scarce)
    result = run(sweep, tmp_path)
    assert result.outcomes["out_of_memory"] == 4
    assert result.to_json()["trials"] == {"total": 12, "done": 12, "failed": 0}, (
        "an outcome, no failure of the run"
    )
    stored = [r for r in rows(tmp_path) if r["outcome"] == "out_of_memory"]
    assert {(r["learning_rate"], r["error"]) for r in stored} == {(2e-3, "no room")}


def test_a_batch_that_is_too_large_is_run_in_halves_and_loses_nothing(sweep, tmp_path, training):
    """Sums are rounded differently in smaller batches, so results agree only to the engines' tolerance."""
    run(sweep, tmp_path / "roomy")

    def scarce(trials):
        if len(trials) > 1:
            raise MemoryError("no room")

    training(scarce)
    assert run(sweep, tmp_path / "scarce").state == "complete"
    halves = RunDirectory(Store(tmp_path / "scarce")).trials().to_pylist()
    assert len({r["batch"] for r in halves}) == len(halves), "recorded as it took place"
    plan = pq.read_table(tmp_path / "scarce/plan.parquet").to_pylist()
    assert {(p["learning_rate"], p["batch"]) for p in plan} == {
        (r["learning_rate"], r["batch"]) for r in halves
    }
    alike(tmp_path / "scarce", tmp_path / "roomy")


def alike(one, other):
    """The critical rates of two runs agree within 0.05 %."""
    expected = {(e.context, e.method): e for e in phantom_dist.status(one).critical_rates}
    for entry in phantom_dist.status(other).critical_rates:
        assert entry.eta_c == pytest.approx(expected[entry.context, entry.method].eta_c, rel=5e-4)


def test_a_path_that_does_not_fit_is_done_without(sweep, tmp_path, monkeypatch):
    def too_large(loaded, problem):
        raise OutOfMemory("no room for the path")

    monkeypatch.setattr(worker, "probe_path", too_large)
    sweep["learning_rates"] = {"critical": {"tolerance": 0.05, "start": "law"}}
    result = run(sweep, tmp_path)
    assert all(entry.eta_c for entry in result.critical_rates)


def test_a_failing_trial_is_retried_and_then_named(sweep, tmp_path, training, monkeypatch):
    sweep["learning_rates"] = [1e-3, 2e-3]
    tries = []

    def flaky(trials):
        if any(trial.learning_rate == 2e-3 for trial in trials):
            tries.append(trials)
            raise ArithmeticError("cosmic ray")

    training(flaky)
    result = run(sweep, tmp_path)
    assert result.trials.failed == 4
    assert {e.error for e in result.errors} == {"ArithmeticError: cosmic ray"}
    assert len(tries) >= 4 * 3
    monkeypatch.undo()
    assert run(sweep, tmp_path).trials.failed == 4, "left as it is"
    retried = run(sweep, tmp_path, retry="failed")
    assert retried.to_json()["trials"] == {"total": 8, "done": 8, "failed": 0}
    run(sweep, tmp_path / "undisturbed")
    expected = {r["trial_id"]: r for r in rows(tmp_path / "undisturbed")}
    for row in rows(tmp_path):
        assert row["outcome"] == expected[row["trial_id"]]["outcome"]
        assert row["gap_final"] == pytest.approx(expected[row["trial_id"]]["gap_final"], abs=1e-3)


def test_a_probe_that_fails_is_named_and_the_rest_runs(sweep, tmp_path, monkeypatch):
    """Both probes of one context fail; the task is split until each of them is alone."""
    from phantom_dist.engines import probe

    measure, bad = probe.probe, sweep["contexts"][0]["id"]

    def flaky(loaded, problem, training_sets):
        if problem.context.id == bad:
            raise ArithmeticError("cosmic ray")
        return measure(loaded, problem, training_sets)

    monkeypatch.setattr(probe, "probe", flaky)
    result = run(sweep, tmp_path)
    assert result.state == "complete"
    assert {(e.context, e.error) for e in result.errors} == {(bad, "ArithmeticError: cosmic ray")}
    assert {e.context: e.reason for e in result.critical_rates} == {
        bad: "error",
        sweep["contexts"][1]["id"]: None,
    }
    monkeypatch.undo()
    assert not run(sweep, tmp_path, retry="failed").errors


def test_a_full_disk_stops_in_order_and_loses_nothing(sweep, tmp_path, monkeypatch):
    import errno
    import os

    sync, written = os.fsync, []

    def filling(fd):
        written.append(fd)
        if len(written) > 30:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(fd)

    run(sweep, tmp_path / "whole")
    monkeypatch.setattr(os, "fsync", filling)
    with pytest.raises(StoreError, match="No space left on device"):
        run(sweep, tmp_path / "cut")
    monkeypatch.undo()
    assert rows(tmp_path / "cut"), "what was measured before is kept"
    phantom_dist.resume(tmp_path / "cut", executor="inprocess")
    assert digest(tmp_path / "cut") == digest(tmp_path / "whole")


def test_a_damaged_file_is_named_and_nothing_is_overwritten(sweep, tmp_path):
    sweep["learning_rates"] = [1e-3]
    run(sweep, tmp_path)
    victim = sorted((tmp_path / "trials").iterdir())[0]
    victim.write_bytes(victim.read_bytes()[:-20])
    with pytest.raises(StoreError, match=victim.name):
        run(sweep, tmp_path)
