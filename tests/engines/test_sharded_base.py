"""Lanes of a group of ranks on one sharded model equal the reference engine: dual and LoRA, on 2 and on 3 ranks.

Tolerance as in `test_deepspeed_group`: logit gaps within 1e-4 up to a trial's first jump.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from phantom_dist.core.measurement import Trial, TrialResult
from phantom_dist.core.probe_result import Measured, ProbeResult
from phantom_dist.core.trial import Problem
from phantom_dist.engines import SingleEngine
from phantom_dist.engines.deepspeed_group import Ranks, sharded_matrix
from phantom_dist.engines.deepspeed_group.sharded_base import GroupLanesEngine, ShardedBase, load_sharded_base
from phantom_dist.engines.path import can_be_walked, probe_path
from phantom_dist.engines.probe import probe
from phantom_dist.instruments.kernel_rate import effective_steps
from phantom_dist.models import LoadedModel, Permissions
from phantom_dist.models.zoo import names
from phantom_dist.records import trial_row

from .problems import CONTEXTS, load, problem
from .ranks import RankProcesses, ranks_here
from .test_deepspeed_group import same_probe, same_reading

pytestmark = pytest.mark.slow

STEPS = 8
WAYS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "dual": ("full", "sgd", {}),
    "momentum": ("full", "sgd", {"momentum": 0.9, "schedule": {"name": "cosine"}}),
    "lora": ("lora", "adamw", {"weight_decay": 0.01}),
    "clipped": ("lora", "sgd", {"gradient_clipping": 1.0}),
}


@pytest.fixture(scope="module")
def pair():
    processes = RankProcesses(ranks_here(2))
    yield processes
    processes.close()


@pytest.fixture(scope="module")
def three():
    processes = RankProcesses(ranks_here(3))
    yield processes
    processes.close()


# -- what ranks do ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What one rank measured; `received`: bytes that it got for one step of each trial."""

    probed: list[ProbeResult]
    results: list[TrialResult]
    received: int


def probed_as_far_as_possible(loaded: LoadedModel, asked: Problem) -> ProbeResult:
    return probe_path(loaded, asked) if can_be_walked(asked) else probe(loaded, asked)


def trained(ranks: Ranks, asked: list[Problem], trials: list[Trial]) -> Answer:
    base = load_sharded_base(asked[0], ranks, Permissions())
    probed = [probed_as_far_as_possible(base.loaded, each) for each in asked]
    before = base.gathering.received
    results = list(GroupLanesEngine(base).run(base.loaded, trials)) if trials else []
    return Answer(probed=probed, results=results, received=base.gathering.received - before)


# -- the reference ---------------------------------------------------------------------------------------------------


def contexts_of(name: str, count: int):
    return [context for context in CONTEXTS.values()][:count]


def reference(name: str, way: str, count: int) -> tuple[list[Measured], list[TrialResult]]:
    """The probes of so many contexts, and trials at 0.5 and 0.9 of each one's first-order critical rate."""
    method, optimizer, more = WAYS[way]
    loaded = load(f"zoo:{name}")
    probed, trials = [], []
    for context in CONTEXTS.values():
        asked = problem(method, optimizer, steps=STEPS, context=context, **more)
        measured = probed_as_far_as_possible(loaded, asked.model_copy(update={"model": f"zoo:{name}"}))
        if not isinstance(measured, Measured) or not measured.kappa > 0:
            continue
        probed.append(measured)
        effective = effective_steps(STEPS, asked.schedule, asked.optimizer)
        first_order = abs(measured.gap_0) / (effective * measured.kappa)
        trials += [Trial(measured=measured, learning_rate=share * first_order) for share in (0.5, 0.9)]
        if len(probed) == count:
            break
    return probed, list(SingleEngine().run(loaded, trials))


def check(processes: RankProcesses, name: str, way: str, count: int) -> None:
    probed, expected = reference(name, way, count)
    solos = {(r.trial.problem.context.id, r.trial.learning_rate): r for r in expected}
    answers = processes.call(trained, [m.problem for m in probed], [r.trial for r in expected])
    for answer in answers:
        for got, own in zip(answer.probed, probed, strict=True):
            same_probe(got, own)
            assert (got.path is None) == (own.path is None)
            if own.path is not None:
                assert got.path.learning_rates == pytest.approx(own.path.learning_rates, rel=1e-3)
        assert len(answer.results) == len(expected)
        for got in answer.results:
            solo = solos[got.trial.problem.context.id, got.trial.learning_rate]
            kind = "lora" if probed[0].problem.lora else "dual"
            assert (got.engine, got.stopped_early) == (f"{kind} lanes, {processes.count} ranks", None)
            jump = trial_row(solo)["jump_step"]
            for a, b in list(zip(got.trace, solo.trace, strict=True))[:jump]:
                same_reading(a, b)
    traces = {repr([(r.trial.learning_rate, r.trace) for r in answer.results]) for answer in answers}
    assert len(traces) == 1, "every rank has the same results"


ALL = names()
ROTATED = [(name, list(WAYS)[place % len(WAYS)]) for place, name in enumerate(ALL)]
SHIFTED = [(name, list(WAYS)[(place + 1) % len(WAYS)]) for place, name in enumerate(ALL)]


@pytest.mark.parametrize(("name", "way"), ROTATED)
def test_lanes_on_two_ranks_equal_the_reference(pair, name, way):
    check(pair, name, way, 2)


@pytest.mark.parametrize(("name", "way"), SHIFTED)
def test_lanes_on_three_ranks_equal_the_reference(three, name, way):
    check(three, name, way, 2)
