"""Packing is a function of the plan."""

from __future__ import annotations

from phantom_dist.core.measurement import Origin, Trial
from phantom_dist.core.trial import Context, Optimizer, Problem
from phantom_dist.scheduling.packing import MAX_PROBES, MAX_TRIALS, pack_probes, pack_trials
from phantom_dist.scheduling.tasks import batch_id

CONTEXT = Context(id="c", text="one two three four five six seven eight", target=" c", competitor=" d")


def problem(model: str = "m", steps: int = 8) -> Problem:
    return Problem(model=model, context=CONTEXT, method="full", optimizer=Optimizer(name="sgd"), steps=steps)


def trials(count: int) -> list[Trial]:
    origin = Origin(problem=problem())
    return [Trial(origin=origin, learning_rate=10.0**-k) for k in range(count)]


def test_every_trial_is_in_one_batch_and_none_is_too_large():
    batches = list(pack_trials(trials(100), parameters=100_000))
    assert [t for batch in batches for t in batch.trials] == trials(100)
    assert max(batch.size for batch in batches) == MAX_TRIALS


def test_a_large_models_trials_stand_alone():
    assert [batch.size for batch in pack_trials(trials(3), parameters=10**9)] == [1, 1, 1]


def test_a_batchs_name_is_its_content():
    (batch,) = pack_trials(trials(3), parameters=1000)
    assert batch.id == batch_id((t.problem.key, t.learning_rate) for t in reversed(batch.trials))
    (other,) = pack_trials(trials(2), parameters=1000)
    assert other.id != batch.id


def test_probes_are_shared_out_by_model_and_size():
    problems = [problem("m", steps) for steps in range(1, 21)] + [problem("n", 1)]
    small = list(pack_probes(problems, lambda p: 100_000))
    assert [task.size for task in small] == [MAX_PROBES, MAX_PROBES, 20 - 2 * MAX_PROBES, 1]
    assert all(len({p.model for p in task.problems}) == 1 for task in small)
    large = list(pack_probes(problems, lambda p: 10**10))
    assert [task.size for task in large] == [1] * 21
    assert [p for task in large for p in task.problems] == problems
