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
from phantom_dist.core.trial import Lora, Problem
from phantom_dist.engines.deepspeed_group import GroupLanesEngine, Ranks, load_sharded_base, sharded_matrix
from phantom_dist.engines.lanes.frozen_matrix import shards_of
from phantom_dist.engines.lanes.kind import NotFusable
from phantom_dist.engines.path.cost import can_be_walked
from phantom_dist.engines.path.probe import probe_path
from phantom_dist.engines.probe import probe
from phantom_dist.engines.single import SingleEngine
from phantom_dist.instruments.effective_steps import effective_steps
from phantom_dist.models import Permissions
from phantom_dist.models.load import LoadedModel
from phantom_dist.models.zoo import names
from phantom_dist.records import trial_row

from .problems import CONTEXTS, load, problem
from .ranks import RankProcesses
from .test_deepspeed_group import reference as deepspeed_reference
from .test_deepspeed_group import same_probe, same_reading
from .test_training_sets import SETS, problems

pytestmark = pytest.mark.slow

STEPS = 8
WAYS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "dual": ("full", "sgd", {}),
    "momentum": ("full", "sgd", {"momentum": 0.9, "schedule": {"name": "cosine"}}),
    "lora": ("lora", "adamw", {"weight_decay": 0.01}),
    "clipped": ("lora", "sgd", {"gradient_clipping": 1.0}),
}


# -- what ranks do ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What one rank measured; `received`: bytes from other ranks in training; `weights`: those of all matrices."""

    probed: list[ProbeResult]
    results: list[TrialResult]
    received: int
    weights: int


def probed_as_far_as_possible(loaded: LoadedModel, asked: Problem) -> ProbeResult:
    return probe_path(loaded, asked) if can_be_walked(asked) else probe(loaded, asked)


def trained(ranks: Ranks, asked: list[Problem], trials: list[Trial], in_place: bool = True) -> Answer:
    base = load_sharded_base(asked[0], ranks, Permissions(), in_place=in_place)
    probed = [probed_as_far_as_possible(base.loaded, each) for each in asked]
    before = base.gathering.received
    results = list(GroupLanesEngine(base).run(base.loaded, trials)) if trials else []
    matrices = {shards_of(p) for p in base.loaded.model.parameters()} - {None}
    return Answer(
        probed=probed,
        results=results,
        received=base.gathering.received - before,
        weights=sum(4 * matrix.own_ci.numel() * ranks.count for matrix in matrices),
    )


def in_small_blocks(ranks: Ranks, asked: list[Problem], trials: list[Trial]) -> Answer:
    """The same, sent in blocks of at most 500 entries: every matrix of the zoo takes several, the last one smaller."""
    before, sharded_matrix.BLOCK = sharded_matrix.BLOCK, 500
    try:
        return trained(ranks, asked, trials, in_place=False)
    finally:
        sharded_matrix.BLOCK = before


def on_a_set(
    ranks: Ranks, asked: list[Problem], trials: list[Trial]
) -> tuple[list[ProbeResult], list[TrialResult]]:
    base = load_sharded_base(asked[0], ranks, Permissions())
    probed = [probe(base.loaded, each, SETS) for each in asked]
    return probed, list(GroupLanesEngine(base, (), SETS).run(base.loaded, trials))


def reason_against(ranks: Ranks, asked: Problem, trials: list[Trial]) -> str:
    try:
        base = load_sharded_base(asked, ranks, Permissions())
        list(GroupLanesEngine(base).run(base.loaded, trials))
    except NotFusable as reason:
        return str(reason)
    return ""


def read_without_gathering(ranks: Ranks, asked: Problem) -> tuple[tuple[int, ...], bool]:
    """The shape of a matrix that is in shards, and whether its parameter has any number."""
    base = load_sharded_base(asked, ranks, Permissions())
    weight = base.loaded.model.get_input_embeddings().weight
    return tuple(weight.shape), bool(torch.isnan(weight).all())


def out_of_step(ranks: Ranks, asked: Problem) -> str:
    """Each rank gathers another matrix of the same shape."""
    base = load_sharded_base(asked, ranks, Permissions())
    matrices = [shards_of(layer.self_attn.q_proj.weight) for layer in base.loaded.model.model.layers]
    base.lockstep.begin((), ())
    matrices[ranks.rank % 2].gather()
    try:
        base.lockstep.any(True)
    except RuntimeError as error:
        return str(error)
    return ""


# -- the reference ---------------------------------------------------------------------------------------------------


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
                # AdamW's first steps are signs, and those of gradients that are rounding are anybody's: such a search
                # ends within 1 %.
                rel = 1e-2 if own.problem.optimizer.name == "adamw" else 1e-3
                assert got.path.learning_rates == pytest.approx(own.path.learning_rates, rel=rel)
        assert len(answer.results) == len(expected)
        for got in answer.results:
            solo = solos[got.trial.problem.context.id, got.trial.learning_rate]
            kind = "lora" if probed[0].problem.lora else "dual"
            assert got.engine == f"{kind} lanes, {processes.count} ranks"
            assert_same(got, solo)
    traces = {repr([(r.trial.learning_rate, r.trace) for r in answer.results]) for answer in answers}
    assert len(traces) == 1, "every rank has the same results"


def assert_same(got: TrialResult, solo: TrialResult) -> None:
    """Equal up to the first jump, and of the same length."""
    assert got.stopped_early == solo.stopped_early
    jump = trial_row(solo)["jump_step"]
    for a, b in list(zip(got.trace, solo.trace, strict=True))[:jump]:
        same_reading(a, b)


ALL = names()
ROTATED = [(name, list(WAYS)[place % len(WAYS)]) for place, name in enumerate(ALL)]
SHIFTED = [(name, list(WAYS)[(place + 1) % len(WAYS)]) for place, name in enumerate(ALL)]


@pytest.mark.parametrize(("name", "way"), ROTATED)
def test_lanes_on_two_ranks_equal_the_reference(pair, name, way):
    check(pair, name, way, 2)


@pytest.mark.parametrize(("name", "way"), SHIFTED)
def test_lanes_on_three_ranks_equal_the_reference(three, name, way):
    check(three, name, way, 2)


@pytest.mark.parametrize("way", ["dual", "lora"])
def test_ranks_that_read_nothing_in_place_receive_each_matrix_twice_a_step(three, way):
    """The floor: (N - 1) / N of all matrices, forward and backward in each step, and forward after the last.

    Under LoRA the matrices below the first adapters need no backward pass. Three times the forward and backward pass
    for `isolation.check`, which tries two lanes and compares them with the model's own passes.
    """
    probed, expected = reference("llama-a", way, 2)
    answers = three.call(in_small_blocks, [m.problem for m in probed], [r.trial for r in expected])
    for answer in answers:
        for got, own in zip(answer.probed, probed, strict=True):
            same_probe(got, own)
        for got, solo in zip(answer.results, expected, strict=True):
            assert_same(got, solo)
        missing = answer.weights * (three.count - 1) / three.count
        passes = 2 * STEPS + 1
        assert passes * missing * 0.8 < answer.received <= (passes + 6) * missing


def test_fewer_lanes_than_ranks_and_lanes_that_end_early(three):
    """A rank without lanes of its own, and ranks whose lanes become NaN or Inf, go on gathering for the others."""
    _, (plain, _) = reference("gpt2-a", "dual", 1)
    loaded = load("zoo:gpt2-a")
    blown = [dataclasses.replace(plain.trial, learning_rate=rate) for rate in (1e30, 1e20, 3e3)]
    for trials in ([plain.trial], [blown[0]], [blown[0], plain.trial], [*blown, plain.trial]):
        solos = list(SingleEngine().run(loaded, trials))
        for answer in three.call(trained, [plain.trial.problem], trials):
            assert [r.trial.learning_rate for r in answer.results] == [t.learning_rate for t in trials]
            for got, solo in zip(answer.results, solos, strict=True):
                assert (got.stopped_early, len(got.trace)) == (solo.stopped_early, len(solo.trace))
                if solo.stopped_early is None:
                    assert_same(got, solo)


def test_adapters_of_different_ranks_and_targets_share_a_task(pair):
    """Lanes of other targets gather other matrices in a backward pass, so they are another batch."""
    loaded = load("zoo:llama-a")
    trials = []
    for targets, rank in (
        ("attention", 2),
        ("attention", 4),
        ("all-linear", 2),
        (("down_proj",), 3),
        ("attention", 1),
    ):
        asked = problem("lora", "adamw", steps=4).model_copy(update={"model": "zoo:llama-a"})
        asked = asked.model_copy(update={"lora": Lora(rank=rank, alpha=2 * rank, targets=targets)})
        measured = probe(loaded, asked)
        assert isinstance(measured, Measured)
        trials.append(Trial(measured=measured, learning_rate=1e-3))
    solos = {r.trial.problem.lora: r for r in SingleEngine().run(loaded, trials)}
    for answer in pair.call(trained, [trial.problem for trial in trials], trials):
        assert len(answer.results) == len(trials)
        for got in answer.results:
            assert_same(got, solos[got.trial.problem.lora])


@pytest.mark.parametrize("more", [{}, {"batch_size": 5, "accumulate": 2, "measure_every": 3}])
def test_trainings_on_a_set_equal_the_reference(pair, more):
    """Early stopping and NaN let ranks end in different steps; a set of 12 examples has batches of unequal size."""
    asked = problems("lora adamw", model="zoo:llama-a", steps=7, training=more)
    loaded = load("zoo:llama-a")
    probed = [probe(loaded, each, SETS) for each in asked]
    trials = [
        Trial(measured=measured, learning_rate=rate)
        for rate in (1e-3, 3e-3, 1e30)
        for measured in probed
        if isinstance(measured, Measured)
    ]
    solos = {
        (r.trial.problem.context.id, r.trial.learning_rate): r
        for r in SingleEngine((), SETS).run(loaded, trials)
    }
    for got_probed, results in pair.call(on_a_set, asked, trials):
        for got, own in zip(got_probed, probed, strict=True):
            if isinstance(own, Measured):
                same_probe(got, own)
        assert len(results) == len(trials)
        for got in results:
            solo = solos[got.trial.problem.context.id, got.trial.learning_rate]
            assert (got.stopped_early, len(got.trace)) == (solo.stopped_early, len(solo.trace))
            if solo.stopped_early is None:
                assert_same(got, solo)


def test_a_matrix_in_shards_holds_no_number_to_be_read_by_mistake(pair):
    for shape, is_nan in pair.call(
        read_without_gathering, problem().model_copy(update={"model": "zoo:llama-a"})
    ):
        assert shape[0] > 100
        assert is_nan


def test_ranks_that_gather_different_matrices_say_so(pair):
    for message in pair.call(out_of_step, problem().model_copy(update={"model": "zoo:llama-a"})):
        assert message == "the ranks of a group gathered different matrices, so no product can be trusted"


def test_what_lanes_on_shards_cannot_train_is_refused_by_name(pair):
    """AdamW changes every weight; the group's other engine trains that."""
    _, (adamw, _) = deepspeed_reference("gpt2-a", "adamw")
    for reason in pair.call(reason_against, adamw.trial.problem, [adamw.trial]):
        assert reason == "lanes don't support it on a sharded model"
