"""A whole run in milliseconds: the real driver, ledger and run directory over a scripted executor."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phantom_dist.campaign import run_driver
from phantom_dist.campaign.budget import Budget
from phantom_dist.campaign.run_driver import RunDriver
from phantom_dist.campaign.run_state import RunState
from phantom_dist.core.errors import Cancelled
from phantom_dist.core.outcome import Outcome
from phantom_dist.traces import RunDirectory, Store
from phantom_dist.traces.leases import Leases

from .scripted import World, plan_of, sweep
from .scripted_executor import ScriptedExecutor


class Drive:
    """One start of a run in a directory."""

    def __init__(self, folder, plan, world, *, budget=Budget(), observer=lambda progress: None, **script):  # noqa: B008
        self.directory = RunDirectory(Store(folder))
        self.leases = Leases(self.directory.store)
        self.state = RunState(plan, lambda measured: None)
        self.executors: list[ScriptedExecutor] = []
        self._world, self._script = world, script
        self._driver = RunDriver(
            self.state, self.directory.under(self.leases.own), self.leases, budget, observer
        )

    def execute(self):
        self._driver.execute(self._executor)
        return json.loads(self.directory.store.get("state.json"))

    def _executor(self, phase):
        self.executors.append(ScriptedExecutor(self._world, **self._script))
        return self.executors[-1]

    @property
    def measured(self):
        trials = (trial for trials in self.state.trials.values() for trial in trials)
        return {(t.context, t.learning_rate, t.outcome) for t in trials}


def test_a_run_ends_complete_and_closes_its_workers(tmp_path):
    run = Drive(tmp_path, plan_of(sweep(3)), World())
    state = run.execute()
    assert (state["state"], state["workers"], state["reason"]) == ("complete", 2, None)
    assert [executor.closed for executor in run.executors] == [True]


@given(seed=st.integers(0, 10**6), workers=st.integers(1, 5), trouble=st.integers(0, 2))
@settings(deadline=None, max_examples=40)
def test_neither_workers_nor_their_deaths_change_what_is_measured(tmp_path_factory, seed, workers, trouble):
    """At most two failures per task, so that none is given up."""
    plan = plan_of(sweep(4, methods=[{"full": {"optimizers": ["sgd", "adamw"]}}]))
    quiet = Drive(tmp_path_factory.mktemp("run"), plan, World(), workers=1)
    quiet.execute()
    rough = Drive(tmp_path_factory.mktemp("run"), plan, World(), workers=workers, seed=seed, trouble=trouble)
    assert rough.execute()["state"] == "complete"
    gone = {t for t in rough.measured if t[2] is Outcome.OUT_OF_MEMORY}  # a lone trial that had no room
    assert rough.measured - gone <= quiet.measured
    assert gone or rough.measured == quiet.measured


@pytest.mark.parametrize("trials", [1, 3])
def test_a_budget_of_trials_stops_in_order_and_the_reason_is_kept(tmp_path, trials):
    run = Drive(tmp_path, plan_of(sweep(4)), World(), budget=Budget(trials=trials))
    state = run.execute()
    assert state["state"] == "interrupted"
    assert state["reason"].startswith(f"--max-trials {trials}: ")
    begun = sum(len(trials) for trials in run.state.trials.values())
    assert begun >= trials, "a batch that was begun comes to its end"
    assert run.executors[0].closed


def test_a_cancelled_run_is_interrupted_and_its_workers_are_closed(tmp_path, monkeypatch):
    monkeypatch.setattr(run_driver, "HEARTBEAT_S", 0.0)
    directory = RunDirectory(Store(tmp_path))
    run = Drive(tmp_path, plan_of(sweep(4)), World(), observer=lambda progress: directory.cancel())
    with pytest.raises(Cancelled):
        run.execute()
    assert json.loads(directory.store.get("state.json"))["state"] == "interrupted"
    assert run.executors[0].closed


def test_refused_pairs_are_stored_by_the_driver(tmp_path):
    run = Drive(tmp_path, plan_of(sweep(2, rates=[0.1, 0.2])), World(refused=frozenset({"c1"})))
    run.execute()
    rows = run.directory.trials().to_pylist()
    assert sorted((r["context"], r["learning_rate"], r["outcome"]) for r in rows) == [
        ("c1", 0.1, "refused_tokens"),
        ("c1", 0.2, "refused_tokens"),
    ]


def test_a_complete_run_starts_no_worker_and_keeps_its_state(tmp_path):
    plan, world = plan_of(sweep(2)), World()
    first = Drive(tmp_path, plan, world)
    before = first.execute()
    again = Drive(tmp_path, plan, world)
    again.state.restore(
        first.state.results.values(), [t for trials in first.state.trials.values() for t in trials]
    )
    assert again.execute() == before
    assert again.executors == []
