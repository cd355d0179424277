"""Which problems get a group, of which size and stage: by predicted memory, or as the sweep sets it."""

from __future__ import annotations

import dataclasses
import math

import pytest

import phantom_dist
from phantom_dist.campaign import planner
from phantom_dist.core.errors import InputError
from phantom_dist.core.trial import Context, Lora, Optimizer, Problem
from phantom_dist.models import ModelMetadata
from phantom_dist.planning import memory as predicted
from phantom_dist.planning.durations import seconds_per_group_step
from phantom_dist.planning.plan import make_plan
from phantom_dist.planning.rank_groups import group_config, rank_groups
from phantom_dist.planning.resources import Resources
from phantom_dist.planning.sizes import LANES
from phantom_dist.planning.summary import plan_json, plan_lines
from phantom_dist.scheduling.rank_group import RankGroup
from phantom_dist.scheduling.worker_kind import WorkerKind
from phantom_dist.spec import load
from phantom_dist.spec.sweep import RankGroupSettings

LARGE = ModelMetadata(
    reference="large",
    title="large",
    architecture="LlamaForCausalLM",
    parameters=8_000_000_000,
    width=4096,
    layers=32,
    heads=32,
    vocabulary_size=128_256,
    tied=False,
)
CONTEXT = Context(id="a", text="After betraying his closest friend he was overcome with", target=" shame")
GB = 1e9


def problem(optimizer: str = "sgd", lora: Lora | None = None, clipping: float | None = None) -> Problem:
    return Problem(
        model="large",
        context=CONTEXT,
        method="full" if lora is None else "lora",
        lora=lora,
        optimizer=Optimizer(name=optimizer),
        gradient_clipping=clipping,
        steps=8,
    )


def of(memory: float, workers: int, **more) -> Resources:
    return Resources(kinds=(WorkerKind(count=workers, memory_bytes=memory),), **more)


def chosen(asked: Problem, memory: float, workers: int, always: bool = False, **wanted) -> RankGroup | None:
    groups = rank_groups(
        [asked], {"large": LARGE}, RankGroupSettings(**wanted), of(memory, workers), always=always
    )
    return groups.get(group_config(asked))


def test_a_model_that_fits_a_worker_gets_no_group():
    assert chosen(problem(), 1000 * GB, workers=8) is None


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("memory", [40 * GB, 60 * GB, 80 * GB])
def test_it_is_the_smallest_group_that_fits_and_stage_2_where_that_does(optimizer, memory):
    asked = problem(optimizer, clipping=1.0)
    group = chosen(asked, memory, workers=64)
    fits = {
        (ranks, stage): predicted.rank_bytes(asked, LARGE, ranks, stage) <= memory
        for ranks in range(2, 65)
        for stage in (2, 3)
    }
    assert (group.ranks, group.stage) == next(choice for choice, fit in sorted(fits.items()) if fit)


def test_stage_2_serves_where_the_weights_fit_each_rank():
    """LoRA: only the weights need memory, and stage 2 doesn't send them."""
    lora = problem("adamw", Lora())
    weights = 4.0 * LARGE.parameters
    at_2 = chosen(lora, weights + 5 * GB, workers=8, always=True, stage=2)
    assert at_2 == RankGroup(ranks=2, stage=2)
    assert chosen(lora, weights / 2 + 10 * GB, workers=8).stage == 3


def test_more_ranks_need_less_memory_each_and_adamw_more_than_sgd():
    for stage in (2, 3):
        sgd, adamw = (
            [predicted.rank_bytes(problem(name), LARGE, ranks, stage) for ranks in (2, 4, 8)]
            for name in ("sgd", "adamw")
        )
        assert sgd == sorted(sgd, reverse=True)
        assert all(a > s for a, s in zip(adamw, sgd, strict=True))
    assert predicted.rank_bytes(problem(), LARGE, 8, 3) < predicted.rank_bytes(problem(), LARGE, 8, 2)


@pytest.mark.parametrize(
    ("parameters", "measured"),
    [(("sgd", 2), 2.56e9), (("sgd", 3), 2.20e9), (("adamw", 2), 3.08e9)],
)
def test_the_prediction_is_what_smollm2_took_on_two_ranks(parameters, measured):
    """Peak of anonymous memory of a rank while κ was measured; 0.1 GB of libraries' files are in RANK_BYTES as well."""
    small = ModelMetadata(
        reference="large",
        title="SmolLM2",
        architecture="LlamaForCausalLM",
        parameters=134_515_008,
        width=576,
        layers=30,
        heads=9,
        vocabulary_size=49_152,
        tied=True,
    )
    optimizer, stage = parameters
    assert predicted.rank_bytes(problem(optimizer), small, 2, stage) == pytest.approx(measured, rel=0.15)


def test_where_neither_fits_one_worker_is_tried_unless_a_group_was_asked_for():
    assert chosen(problem(), 4 * GB, workers=4) is None
    assert chosen(problem(), 4 * GB, workers=4, always=True) == RankGroup(ranks=4, stage=3)
    assert chosen(problem(), 4 * GB, workers=1, always=True) == RankGroup(ranks=2, stage=3)


def test_trainings_that_leave_the_weights_share_one_model_and_each_rank_has_lanes():
    """SGD in the dual form, and LoRA; not AdamW, clipped SGD, or where the sweep sets the stage."""
    weights = 4.0 * LARGE.parameters
    for asked in (problem("sgd"), problem("adamw", Lora()), problem("sgd", Lora(), clipping=1.0)):
        group = chosen(asked, weights / 2 + 5 * GB, workers=2)
        assert group == RankGroup(ranks=2, stage=3, lanes=True)
        assert predicted.shared_rank_bytes(asked, LARGE, 2, 1) <= weights / 2 + 5 * GB
        assert not chosen(asked, weights / 2 + 20 * GB, workers=2, always=True, stage=3).lanes
    for asked in (problem("adamw"), problem("sgd", clipping=1.0)):
        assert not chosen(asked, 2 * weights, workers=8, always=True).lanes


def seconds(asked: Problem, ranks: int, memory: float, workers: int, trials: int) -> float:
    """What a plan with groups of so many ranks takes, by the predictions that `test_durations` checks; inf if none."""
    each = predicted.lanes_of_rank(asked, LARGE, ranks, memory, LANES)
    if each == 0 or workers // ranks == 0:
        return math.inf
    batch = min(trials, each * ranks)
    group = RankGroup(ranks=ranks, stage=3, lanes=True)
    rounds = math.ceil(trials / (each * ranks * (workers // ranks)))
    return rounds * batch * seconds_per_group_step(asked, LARGE, group, batch)


@pytest.mark.parametrize("memory", [6 * GB, 12 * GB, 18 * GB, 30 * GB])
@pytest.mark.parametrize("trials", [1, 100, 1000])
def test_more_ranks_or_more_groups_whichever_ends_first(memory, trials):
    asked = problem("adamw", Lora())
    resources = of(memory, 8)
    groups = rank_groups([asked] * trials, {"large": LARGE}, RankGroupSettings(), resources, always=False)
    group = groups.get(group_config(asked))
    by_ranks = {ranks: seconds(asked, ranks, memory, 8, trials) for ranks in range(2, 9)}
    if math.isinf(min(by_ranks.values())):
        assert group is None or not group.lanes
    else:
        assert group.ranks == min(by_ranks, key=by_ranks.get)


def test_a_group_also_serves_where_a_worker_has_room_for_the_model_and_hardly_for_lanes():
    asked = problem("adamw", Lora(rank=8)).model_copy(
        update={"context": CONTEXT.model_copy(update={"text": "He felt"})}
    )
    full, roomy = (predicted.worker_bytes(asked, LARGE, lanes) for lanes in (1, 48))
    for trials, memory, lanes in ((200, full, True), (200, roomy, False), (1, full, False)):
        groups = rank_groups(
            [asked] * trials, {"large": LARGE}, RankGroupSettings(), of(memory, 2), always=False
        )
        assert bool(groups) == lanes, (trials, memory)


def test_the_sweep_has_the_last_word():
    wanted = {"ranks": 3, "stage": 3, "timeout": 5}
    assert chosen(problem(), 400 * GB, workers=8, always=True, **wanted) == RankGroup(
        ranks=3, stage=3, timeout_s=5
    )
    assert chosen(problem(), 80 * GB, workers=64, stage=3).stage == 3
    assert chosen(problem(), 4 * GB, workers=64, ranks=2) is None, "it wouldn't fit"


SWEEP = {
    "models": ["zoo:gpt2-a"],
    "contexts": [{"id": "a", "text": "mary was filled with", "target": " guilt", "competitor": " shame"}],
    "methods": [{"full": {"optimizers": ["sgd"]}}, {"lora": {"optimizers": ["adamw"]}}],
    "learning_rates": {"critical": {"start": "law"}},
}


def planned(resources: Resources, engine: str = "auto", **execution):
    spec = load(SWEEP | {"execution": execution})
    return make_plan(spec, planner.models_of(spec), resources, engine=engine)


SMALL, ROOMY = of(0.65e9, 2), of(10e9, 2)


def test_the_plan_shows_groups():
    plan = planned(SMALL)
    shown = plan_json(plan)
    assert [(g["method"], g["ranks"], g["lanes"], g["problems"]) for g in shown["groups"]] == [
        ("full", 2, 2, 1),
        ("lora", 2, 2, 1),
    ]
    assert shown["predicted_worker_bytes"] < 0.65e9
    assert (shown["lanes"], shown["predicted_seconds"] > 0) == (1, True)
    line = "  zoo:gpt2-a lora adamw T=8: a group of 2 ranks, 2 lanes over one sharded model, 0.62 GB each"
    assert line in plan_lines(shown)
    (phase,) = plan.phases
    assert phase.rank_group == RankGroup(ranks=2, stage=3, lanes=True)
    assert all(probe.with_path for probe in phase.probes), "whose probes walk paths, as a single worker's"


def test_the_plan_shows_groups_that_train_one_trial_at_a_time():
    plan = planned(SMALL, group={"stage": 2})
    shown = plan_json(plan)
    assert [(g["ranks"], g["stage"], g["lanes"]) for g in shown["groups"]] == [(2, 2, None), (2, 2, None)]
    assert "  zoo:gpt2-a lora adamw T=8: a group of 2 ranks, ZeRO stage 2, 0.6 GB each" in plan_lines(shown)
    (phase,) = plan.phases
    assert phase.rank_group == RankGroup(ranks=2, stage=2)
    assert not any(probe.with_path for probe in phase.probes), "such a group probes no path"


def test_the_plan_of_what_fits_has_no_groups():
    plan = planned(ROOMY)
    assert ([phase.rank_group for phase in plan.phases], plan_json(plan)["groups"]) == ([None], [])
    assert [p.rank_group for p in planned(ROOMY, "deepspeed").phases] == [
        RankGroup(ranks=2, stage=3, lanes=True)
    ]


def test_a_model_that_fits_the_largest_of_several_kinds_needs_no_group():
    kinds = (*SMALL.kinds, *ROOMY.kinds)
    plan = planned(Resources(kinds=kinds))
    assert [phase.rank_group for phase in plan.phases] == [None]
    assert {group.kind for group in plan.batch_groups} == set(ROOMY.kinds)
    assert {probe.memory_bytes for probe in plan.phases[0].probes} == {10e9}, "and is probed there"


def test_resources_are_recorded_and_replayed():
    for resources in (SMALL, ROOMY, Resources(kinds=(*SMALL.kinds, *ROOMY.kinds), deepspeed=False)):
        assert Resources.from_json(resources.to_json()) == resources


def test_what_runs_recorded_until_2026_11_is_replayed():
    before = {"engine": "auto", "worker_memory_bytes": 0.65e9, "workers_for_groups": 2, "on_gpu": True}
    assert Resources.from_json(before).kinds == (WorkerKind(count=2, memory_bytes=0.65e9, on_gpu=True),)
    del before["on_gpu"]
    assert not Resources.from_json(before).largest.on_gpu, "a run of before there were GPUs"


def test_a_gpu_makes_other_batches():
    gpu = Resources(kinds=(dataclasses.replace(ROOMY.largest, on_gpu=True),))
    assert [group.kind.on_gpu for group in planned(gpu).batch_groups] == [True, True]


def test_one_process_is_no_group(tmp_path):
    with pytest.raises(InputError, match="engine deepspeed needs several processes: executor ray"):
        phantom_dist.run(SWEEP, tmp_path, executor="inprocess", engine="deepspeed")


def test_deepspeed_that_is_named_and_missing_is_an_error(monkeypatch):
    monkeypatch.setattr(planner, "has_deepspeed", lambda: False)
    with pytest.raises(InputError, match=r"not installed here.*pip install 'phantom-dist\[deepspeed\]'"):
        phantom_dist.plan(SWEEP, engine="deepspeed")
    (phase,) = planned(of(0.65e9, 2, deepspeed=False)).phases
    assert phase.rank_group is None, "without it one worker tries"
