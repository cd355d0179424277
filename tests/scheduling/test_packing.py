"""Packing is a function of the plan."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from phantom_dist.core.trial import Context, Lora, Optimizer, Problem
from phantom_dist.scheduling.packing import (
    BATCH_WORK,
    LANES,
    MAX_LANES,
    MAX_PROBES,
    MAX_SEARCHES,
    cohorts,
    most_lanes,
    pack_probes,
    single_trials,
)
from phantom_dist.scheduling.tasks import batch_id

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
def test_every_trial_is_in_one_cohort_of_its_own_kind_and_none_is_too_large(problems, rates, lanes):
    packed = list(cohorts(problems, rates, lambda p: lanes))
    members = [(p.key, rate) for cohort in packed for p, rate in cohort.members]
    assert sorted(members, key=str) == sorted(
        ((p.key, r) for p in problems for r in rates or [None]), key=str
    )
    for cohort in packed:
        assert len({p.training for p in cohort.problems}) == 1
        assert 1 <= len(cohort.members) <= max(1, min(lanes, MAX_LANES if rates else MAX_SEARCHES))


def test_cohorts_are_as_equal_as_can_be():
    searches = [problem(context=f"c{i}") for i in range(32)]
    assert [len(c.members) for c in cohorts(searches, (), lambda p: 48)] == [16, 16]
    assert [len(c.members) for c in cohorts(searches[:17], (), lambda p: 48)] == [9, 8]
    assert [len(c.members) for c in cohorts(searches[:1], [0.1] * 50, lambda p: 48)] == [25, 25]


def test_a_gpu_takes_larger_batches_whatever_the_models_size():
    searches = [problem(context=f"c{i}") for i in range(65)]
    assert [len(c.members) for c in cohorts(searches, (), lambda p: 192, on_gpu=True)] == [33, 32]
    assert [len(c.members) for c in cohorts(searches, (), lambda p: 20, on_gpu=True)] == [17, 17, 17, 14]
    assert most_lanes(problem(), 10**9, on_gpu=True) == MAX_LANES


def test_the_longest_prompt_decides_how_many_fit():
    searches = [problem(context="short"), problem(context="long"), problem(context="other")]
    packed = cohorts(searches, (), lambda p: 1 if p.context.id == "long" else 16)
    assert [len(c.members) for c in packed] == [1, 1, 1]


def test_single_trials_of_a_large_model_stand_alone():
    assert single_trials(problem(), 10**9) == 1
    assert single_trials(problem(), 100_000) == MAX_LANES


def test_small_models_share_larger_batches():
    assert most_lanes(problem(), 100_000) == MAX_LANES
    assert most_lanes(problem(), 10**9) == most_lanes(problem(steps=128), 10**8) == LANES
    assert LANES < most_lanes(problem(steps=128), 3 * 10**6) < MAX_LANES


def test_a_batchs_name_is_its_content():
    (cohort,) = cohorts([problem()], [1.0, 0.1], lambda p: 16)
    assert cohort.batch == batch_id((problem().key, rate) for rate in (0.1, 1.0))
    (other,) = cohorts([problem()], [1.0], lambda p: 16)
    assert other.batch != cohort.batch


def test_probes_are_shared_out_by_model_and_size():
    problems = [problem("m", steps) for steps in range(1, 21)] + [problem("n", 1)]
    small = list(pack_probes(problems, lambda p: 100_000))
    assert [task.size for task in small] == [MAX_PROBES, MAX_PROBES, 20 - 2 * MAX_PROBES, 1]
    assert all(len({p.model for p in task.problems}) == 1 for task in small)
    # A path takes twice the steps of κ: where eight probes fill a task, four paths do.
    fill = BATCH_WORK / (9 * 2 * 8)
    for with_path, size in ((False, 8), (True, 4)):
        tasks = list(pack_probes(problems[:16], lambda p: int(fill), lambda p, paths=with_path: paths))
        assert [task.size for task in tasks] == [size] * (16 // size)
    large = list(pack_probes(problems, lambda p: 10**10))
    assert [task.size for task in large] == [1] * 21
    assert [p for task in large for p in task.problems] == problems


def test_a_cohort_of_searches_with_room_may_train_two_trials_each():
    searches = [problem(context=str(i)) for i in range(4)]
    (roomy,) = cohorts(searches, (), lambda p: 8)
    (tight,) = cohorts(searches, (), lambda p: 7)
    (given,) = cohorts(searches[:1], (0.1, 0.2), lambda p: 48)
    assert [c.together * len(c.members) for c in (roomy, tight, given)] == [8, 4, 2]
