"""The plan for an optimizer that lanes, walks and groups of ranks don't know; AdamW plays its part."""

from __future__ import annotations

import pytest

from phantom_dist.core.trial import Context
from phantom_dist.engines.lanes import support
from phantom_dist.engines.path.cost import WALKED
from phantom_dist.planning import rank_groups
from phantom_dist.planning.memory import worker_bytes
from phantom_dist.planning.plan import Plan, make_plan
from phantom_dist.spec import SweepSpec

from .problems import TEXT, kind, metadata, resources

PARAMETERS = 1_000_000


def plan(optimizer: str, learning_rates: object, memory: float = 10e9, parameters: int = PARAMETERS) -> Plan:
    spec = SweepSpec.model_validate(
        {
            "name": "new",
            "models": ["m"],
            "contexts": [
                Context(id=name, text=TEXT, target=" shame", competitor=" guilt") for name in ("a", "b")
            ],
            "optimizers": [optimizer],
            "learning_rates": learning_rates,
        }
    )
    return make_plan(spec, {"m": metadata(parameters=parameters)}, resources(kind(memory)))


def test_what_lanes_dont_know_is_planned_one_trial_after_another(monkeypatch):
    searches = plan("adamw", "critical")
    assert [len(group.members) for group in searches.batch_groups] == [2]
    monkeypatch.setattr(support, "OPTIMIZERS", ("sgd",))
    searches, given = plan("adamw", "critical"), plan("adamw", [1e-3, 1e-4])
    assert [len(group.members) for group in searches.batch_groups] == [1, 1]
    model = metadata(parameters=PARAMETERS)
    for trial in (*searches.trials, *given.trials):
        assert trial.process_bytes == worker_bytes(trial.problem, model, lanes=1)


@pytest.mark.parametrize("start", ["auto", "law"])
def test_a_path_that_cant_be_walked_is_not_probed(monkeypatch, start):
    monkeypatch.delitem(WALKED, "adamw")
    for optimizer, walked in (("sgd", True), ("adamw", False)):
        phases = plan(optimizer, {"critical": {"start": start}}).phases
        paths = {probe.with_path for phase in phases for probe in phase.probes}
        assert paths == {walked} or start == "auto"
        assert walked or paths == {False}


def test_what_groups_of_ranks_cant_begin_anew_is_left_to_one_worker(monkeypatch):
    large = {"memory": 20e9, "parameters": 1_000_000_000}
    assert [phase.rank_group is None for phase in plan("adamw", [1e-3], **large).phases] == [False]
    monkeypatch.setattr(rank_groups, "DEEPSPEED_OPTIMIZERS", ("sgd",))
    assert [phase.rank_group is None for phase in plan("adamw", [1e-3], **large).phases] == [True]
