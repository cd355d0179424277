"""Batches are a function of the plan."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

import phantom_dist
from phantom_dist.core.training_set import TrainingSet
from phantom_dist.core.trial import Context, Lora, Optimizer, Problem
from phantom_dist.engines.lanes.cost import Chooser
from phantom_dist.planning.batches import batch_groups
from phantom_dist.planning.durations import set_probe_pays
from phantom_dist.planning.probes import PlannedProbe, probe_tasks
from phantom_dist.planning.sizes import (
    BATCH_WORK,
    LANES,
    MAX_LANES,
    MAX_PROBES,
    MAX_SEARCHES,
    batch_limits,
)
from phantom_dist.scheduling.rank_group import RankGroup
from phantom_dist.scheduling.tasks import batch_id
from phantom_dist.scheduling.worker_kind import WorkerKind, merge_alike

from .problems import kind, metadata

ONE = (kind(1e9),)
GPU = (kind(1e9, on_gpu=True),)

TEXT = "one two three four five six seven eight"


def problem(
    model: str = "m", steps: int = 8, *, context: str = "c", optimizer: str = "sgd", **more
) -> Problem:
    return Problem(
        model=model,
        context=Context(id=context, text=TEXT, target=" c", competitor=" d"),
        method="lora" if "lora" in more else "full",
        optimizer=Optimizer(name=optimizer),
        steps=steps,
        **more,
    )


PROBLEMS = [
    problem(model, steps, context=context, optimizer=optimizer, **more)
    for context in ("a", "b", "c")
    for model in ("m", "n")
    for steps in (4, 8)
    for optimizer in ("sgd", "adamw")
    for more in ({}, {"lora": Lora()})
]


@given(
    problems=st.lists(st.sampled_from(PROBLEMS), min_size=1, unique=True),
    rates=st.lists(st.floats(1e-6, 1.0), max_size=250, unique=True),
    lanes=st.integers(0, 300),
)
def test_every_trial_is_in_one_group_of_its_own_kind_and_none_is_too_large(problems, rates, lanes):
    packed = list(batch_groups(problems, rates, lambda p, k: lanes, ONE))
    members = [(p.key, rate) for group in packed for p, rate in group.members]
    assert sorted(members, key=str) == sorted(
        ((p.key, r) for p in problems for r in rates or [None]), key=str
    )
    for group in packed:
        assert len({p.lanes_config for p in group.problems}) == 1
        assert 1 <= len(group.members) <= max(1, min(lanes, MAX_LANES if rates else MAX_SEARCHES))


def test_adapters_of_any_settings_share_a_batch_unless_ranks_train_them():
    loras = [Lora(rank=4), Lora(rank=16, alpha=4), Lora(targets="all-linear", rslora=True)]
    searches = [problem(lora=lora) for lora in loras]
    (together,) = batch_groups(searches, (), lambda p, k: 16, ONE)
    assert len(together.problems) == 3
    sizes = [len(g.members) for g in batch_groups(searches, (), lambda p, k: 32 // p.lora.rank, ONE)]
    assert sizes == [2, 1], "all have the largest rank"
    of_second = {searches[1].training_config: RankGroup(ranks=2, stage=3)}
    apart = list(batch_groups(searches, (), lambda p, k: 16, ONE, lambda p: of_second.get(p.training_config)))
    assert [[p.lora for p in group.problems] for group in apart] == [[loras[0], loras[2]], [loras[1]]]
    assert [group.rank_group for group in apart] == [None, RankGroup(ranks=2, stage=3)]


def test_groups_are_as_equal_as_can_be():
    searches = [problem(context=f"c{i}") for i in range(32)]
    assert [len(c.members) for c in batch_groups(searches, (), lambda p, k: 48, ONE)] == [16, 16]
    assert [len(c.members) for c in batch_groups(searches[:17], (), lambda p, k: 48, ONE)] == [9, 8]
    assert [
        len(c.members)
        for c in batch_groups(searches[:1], [0.1 + 0.001 * n for n in range(50)], lambda p, k: 48, ONE)
    ] == [25, 25]


def test_a_gpu_takes_larger_batches_whatever_the_models_size():
    searches = [problem(context=f"c{i}") for i in range(65)]
    assert [len(c.members) for c in batch_groups(searches, (), lambda p, k: 192, GPU)] == [33, 32]
    assert [len(c.members) for c in batch_groups(searches, (), lambda p, k: 20, GPU)] == [17, 17, 17, 14]
    assert batch_limits(problem(), metadata(parameters=10**9)).gpu_lanes == MAX_LANES


def test_the_longest_prompt_decides_how_many_fit():
    searches = [problem(context="short"), problem(context="long"), problem(context="other")]
    packed = batch_groups(searches, (), lambda p, k: 1 if p.context.id == "long" else 16, ONE)
    assert [len(c.members) for c in packed] == [1, 1, 1]


def test_single_trials_of_a_large_model_stand_alone():
    assert batch_limits(problem(), metadata(parameters=10**9)).one_after_another == 1
    assert batch_limits(problem(), metadata(parameters=100_000)).one_after_another == MAX_LANES


def test_small_models_share_larger_batches():
    def lanes(steps, parameters):
        return batch_limits(problem(steps=steps), metadata(parameters=parameters)).lanes

    assert lanes(8, 100_000) == MAX_LANES
    assert lanes(8, 10**9) == lanes(128, 10**8) == LANES
    assert LANES < lanes(128, 3 * 10**6) < MAX_LANES


def test_a_batchs_name_is_its_content():
    (group,) = batch_groups([problem()], [1.0, 0.1], lambda p, k: 16, ONE)
    assert group.batch == batch_id((problem().key, rate) for rate in (0.1, 1.0))
    (other,) = batch_groups([problem()], [1.0], lambda p, k: 16, ONE)
    assert other.batch != group.batch


def test_probes_are_shared_out_by_model_and_size():
    problems = [problem("m", steps) for steps in range(1, 21)] + [problem("n", 1)]

    def tasks(problems, parameters, with_path=False):
        return list(
            probe_tasks(
                PlannedProbe(problem=p, work=parameters * 9 * p.steps, with_path=with_path) for p in problems
            )
        )

    small = tasks(problems, 100_000)
    assert [task.size for task in small] == [MAX_PROBES, MAX_PROBES, 20 - 2 * MAX_PROBES, 1]
    assert all(len({p.model for p in task.problems}) == 1 for task in small)
    # A path takes twice the steps of κ: where eight probes fill a task, four paths do.
    fill = BATCH_WORK / (9 * 2 * 8)
    for with_path, size in ((False, 8), (True, 4)):
        assert [task.size for task in tasks(problems[:16], int(fill), with_path)] == [size] * (16 // size)
    large = tasks(problems, 10**10)
    assert [task.size for task in large] == [1] * 21
    assert [p for task in large for p in task.problems] == problems


def test_words_that_share_a_sample_share_a_task():
    """Those of a training on a set whose rates are predicted; any other probes are shared out by size."""
    training = TrainingSet(data="0" * 64, loss="completion", batch_size=4, words=9, max_length=64)
    problems = [
        problem(steps=steps, context=str(word), training=training) for word in range(20) for steps in (8, 16)
    ]
    for with_path, sizes in ((True, [20, 20]), (False, [MAX_PROBES] * (40 // MAX_PROBES))):
        tasks = list(probe_tasks(PlannedProbe(problem=p, work=1.0, with_path=with_path) for p in problems))
        assert [task.size for task in tasks] == sizes
        assert {p for task in tasks for p in task.problems} == set(problems)
        if with_path:
            assert all(len({p.steps for p in task.problems}) == 1 for task in tasks)


def test_a_long_training_on_a_set_begins_at_the_laws_predictions_and_a_short_one_does_not():
    training = TrainingSet(data="0" * 64, loss="completion", batch_size=4, words=9, max_length=64)
    for steps, pays in ((4, False), (200, True)):
        asked = problem(steps=steps, training=training)
        assert set_probe_pays(asked, metadata(), Chooser(), words=4) is pays


def test_a_group_of_searches_with_room_may_train_two_trials_each():
    searches = [problem(context=str(i)) for i in range(4)]
    (roomy,) = batch_groups(searches, (), lambda p, k: 8, ONE)
    (tight,) = batch_groups(searches, (), lambda p, k: 7, ONE)
    (given,) = batch_groups(searches[:1], (0.1, 0.2), lambda p, k: 48, ONE)
    assert [c.trials_per_search * len(c.members) for c in (roomy, tight, given)] == [8, 4, 2]


sizes = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 60)), min_size=1, max_size=4)


@given(count=st.integers(1, 200), kinds=sizes, searching=st.booleans())
def test_every_kind_of_worker_gets_the_share_that_it_holds(count, kinds, searching):
    """A kind that can hold no trial gets none; the others get shares in proportion to what their workers can hold."""
    made = tuple(WorkerKind(count=n, memory_bytes=float(i + 1)) for i, (n, _) in enumerate(kinds))
    room = {k.memory_bytes: lanes for k, (_, lanes) in zip(made, kinds, strict=True)}
    problems = [problem(context=f"c{i}") for i in range(count)]
    packed = list(batch_groups(problems, () if searching else [0.1], lambda p, k: room[k.memory_bytes], made))
    assert [p.key for g in packed for p in g.problems] == [p.key for p in problems], "in order, each once"
    total = sum(k.count * room[k.memory_bytes] for k in made)
    for k in made:
        mine = [g for g in packed if g.kind is k]
        got = sum(len(g.members) for g in mine)
        if total:
            assert abs(got - count * k.count * room[k.memory_bytes] / total) <= 1
            assert all(len(g.members) <= room[k.memory_bytes] for g in mine)
        else:
            assert got == (count if k is made[-1] else 0), "where nothing fits, the largest tries"
            assert all(len(g.members) == 1 for g in mine)


def test_machines_that_report_slightly_different_memory_are_one_kind():
    nodes = [kind(m, count=2) for m in (64e9, 62e9, 16e9, 63e9)] + [kind(80e9, count=8, on_gpu=True)]
    assert merge_alike(nodes) == (
        kind(16e9, count=2),
        kind(62e9, count=6),
        kind(80e9, count=8, on_gpu=True),
    )


def test_a_plan_of_adapters_of_several_settings_is_shown():
    methods = [{"lora": {"rank": rank, "alpha": 8}} for rank in (2, 4, 8)]
    sweep = {
        "name": "s",
        "models": ["zoo:gpt2-a"],
        "contexts": [
            {
                "id": "c",
                "text": "After deceiving her closest brother, mary was filled with",
                "target": " shame",
                "competitor": " guilt",
            }
        ],
        "methods": methods,
        "learning_rates": [1e-3, 2e-3, 3e-3],
    }
    preview = phantom_dist.plan(sweep)
    (way,) = preview.to_json()["ways"]
    assert (way["way"], way["lanes"], way["tokens_counted"]) == ("lora", 9, True)
    assert "9 lora lanes" in str(preview)


def test_trainings_on_a_set_are_counted_by_all_that_makes_them_differ():
    training = TrainingSet(data="0" * 64, loss="all", batch_size=4, words=9, max_length=64)
    several = [
        problem(context=context, training=training, lora=Lora(rank=rank), seed=seed)
        for context in ("a", "b")
        for rank in (2, 4)
        for seed in (0, 1)
    ]
    (group,) = batch_groups(several, (0.1, 0.2, 0.3), lambda p, k: 192, ONE)
    assert group.trainings == 2 * 2 * 3
