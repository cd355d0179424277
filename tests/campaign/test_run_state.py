"""The run's own state machine: ordering, budgets, resuming, refusals, twins, extension. No model, file or process."""

from __future__ import annotations

import itertools
import random
from collections import Counter, deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phantom_dist.campaign.progress_view import ProgressView
from phantom_dist.campaign.run_state import GivenUp, Probed, RunState, StoreProbes, StoreUntrained, Trained
from phantom_dist.core.errors import InputError
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.probe_result import Refused
from phantom_dist.scheduling.tasks import ProbeTask, TrainTask

from .scripted import World, plan_of, sweep, training_set


class Stored:
    """What a run has stored: results by problem, trials in order."""

    def __init__(self) -> None:
        self.results = {}
        self.trials = []

    def state(self, plan, expected=lambda measured: None) -> RunState:
        state = RunState(plan, expected)
        state.restore(self.results.values(), self.trials)
        return state


def play(state: RunState, world: World, stored: Stored, *, order=None, tasks: int | None = None) -> list:
    """Execute the commands of the state, one task at a time; returns the tasks that are left after `tasks` of them.

    `order` chooses which of the waiting tasks ends next.
    """
    waiting: list = []

    def carry_out(commands):
        for command in commands:
            match command:
                case StoreUntrained(trials, _):
                    stored.trials += [
                        trial
                        for key in {t.probed.problem.key for t in trials}
                        for trial in state.trials[key]
                        if trial not in stored.trials
                    ]
                case StoreProbes(_, results):
                    stored.results |= {r.problem.key: r for r in results}
                case _:
                    waiting.append(command)

    for phase in state.plan.phases:
        carry_out(state.first(phase))
        done = itertools.count()
        while waiting and (tasks is None or next(done) < tasks):
            task = waiting.pop(order.randrange(len(waiting)) if order else 0)
            match task:
                case ProbeTask():
                    results = tuple(map(world.probe, task.problems))
                    stored.results |= {r.problem.key: r for r in results}
                    carry_out(state.handle(Probed(results)))
                case TrainTask():
                    trials = tuple(world.train(task.trials))
                    stored.trials += trials
                    carry_out(state.handle(Trained(task, trials)))
    return waiting


@given(tasks=st.integers(0, 12), contexts=st.integers(1, 5))
@settings(deadline=None, max_examples=40)
def test_what_is_kept_between_heartbeats_is_what_is_stored(tasks, contexts):
    """A state that handled the events shows the same progress as one that is restored from the stored results."""
    plan, world, stored = plan_of(sweep(contexts)), World(refused=frozenset({"c3"})), Stored()
    state = stored.state(plan)
    shown(state, elapsed=1.0, workers=1)
    play(state, world, stored, tasks=tasks)
    restored = stored.state(plan)
    for phase in plan.phases:
        restored.first(phase)  # which settles the searches that want nothing more
    lived, read = (shown(s) for s in (state, restored))
    assert (lived.searches, lived.outcomes) == (read.searches, read.outcomes)


def shown(state: RunState, *, elapsed: float = 1.0, workers: int = 1):
    return ProgressView(state).progress(elapsed=elapsed, workers=workers)


def rates(stored: Stored) -> set:
    return {(t.problem, t.learning_rate, t.outcome) for t in stored.trials}


def test_a_search_ends_with_a_bracket_within_its_tolerance():
    stored, world = Stored(), World()
    state = stored.state(plan_of(sweep()))
    assert play(state, world, stored) == []
    now = shown(state)
    assert all(s.finished for s in now.searches)
    for number, search in enumerate(now.searches, start=1):
        low, high = search.bracket
        assert low <= 1 / (0.9 * number) <= high <= 1.05 * low * (1 + 1e-12)
    assert now.done == now.expected == len(world.trained) == len(set(world.trained))


@given(seed=st.integers(0, 10**6), cut=st.integers(0, 12), contexts=st.integers(1, 6))
@settings(deadline=None, max_examples=60)
def test_what_is_trained_depends_neither_on_who_is_faster_nor_on_interruptions(seed, cut, contexts):
    """So results don't depend on the number of workers, and an interrupted run trains the same trials."""
    plan = plan_of(sweep(contexts, methods=[{"full": {"optimizers": ["sgd", "adamw"]}}]))
    whole = Stored()
    play(whole.state(plan), World(), whole)
    other = Stored()
    play(other.state(plan), World(), other, order=random.Random(seed), tasks=cut)
    world = World()
    play(other.state(plan), world, other, order=random.Random(seed + 1))
    assert rates(other) == rates(whole)
    assert max(Counter((t.problem, t.learning_rate) for t in other.trials).values()) == 1, "none twice"


@given(seed=st.integers(0, 10**6), cut=st.integers(0, 12), contexts=st.integers(1, 6))
@settings(deadline=None, max_examples=60)
def test_words_that_share_trainings_are_trained_the_same_whatever_happens(seed, cut, contexts):
    """Interruptions, also in the middle of a round of several batches, and the order of its batches change nothing."""
    plan = plan_of(training_set(contexts, methods=["full", {"lora": {"rank": 4}}]))
    whole = Stored()
    play(whole.state(plan), World(), whole)
    other = Stored()
    play(other.state(plan), World(), other, order=random.Random(seed), tasks=cut)
    play(other.state(plan), World(), other, order=random.Random(seed + 1))
    assert rates(other) == rates(whole)
    assert max(Counter((t.problem, t.learning_rate) for t in other.trials).values()) == 1, "none twice"


def test_a_training_answers_for_all_words_and_held_out_ones_ask_for_none():
    plan, stored, world = plan_of(training_set(4, held_out=3)), Stored(), World()
    state = stored.state(plan)
    assert play(state, world, stored) == []
    tried = {}
    for context, rate in world.trained:
        tried.setdefault(context, set()).add(rate)
    assert len(set(map(frozenset, tried.values()))) == 1, "every context is watched in every training"
    alone, one = Stored(), World()
    play(alone.state(plan_of(training_set(4, held_out=0))), one, alone)
    assert {rate for _, rate in one.trained} == {rate for _, rate in world.trained}
    for number in range(1, 5):  # η_c of the scripted world is 1 / (0.9 n)
        of_word = sorted(rate for context, rate in world.trained if context == f"c{number - 1}")
        root = 1 / (0.9 * number)
        low, high = max(r for r in of_word if r <= root), min(r for r in of_word if r >= root)
        assert high <= 1.05 * low


def test_a_word_that_is_refused_or_fails_holds_up_no_other():
    plan = plan_of(training_set(4))
    world, stored = World(refused=frozenset({"c1"}), failing=frozenset({"c2"})), Stored()
    state = stored.state(plan)
    assert play(state, world, stored) == []
    assert shown(state).done == shown(state).expected


def test_a_batch_waits_for_all_problems_of_its_group():
    state = RunState(plan_of(sweep(3)), lambda measured: None)
    (probe,) = state.first(state.plan.phases[0])
    assert isinstance(probe, ProbeTask)
    world = World()
    first, *rest = map(world.probe, probe.problems)
    assert state.handle(Probed((first,))) == []
    (batch,) = state.handle(Probed(tuple(rest)))
    assert {t.problem.key for t in batch.trials} == {p.key for p in probe.problems}
    half = batch.halves()[0]
    assert state.handle(Trained(half, tuple(world.train(half.trials)))) == [], "the other half is out still"


def test_refused_pairs_are_stored_once_for_each_rate_and_the_rest_runs():
    world, stored = World(refused=frozenset({"c1"})), Stored()
    given = plan_of(sweep(3, rates=[0.1, 0.2, 3.0]))
    play(given_state := stored.state(given), world, stored)
    refused = [t for t in stored.trials if t.outcome is Outcome.REFUSED_TOKENS]
    assert sorted(t.learning_rate for t in refused) == [0.1, 0.2, 3.0]
    assert shown(given_state, elapsed=1.0, workers=1).done == 9
    again = stored.state(given)
    assert again.first(given.phases[0]) == [], "nothing is stored twice"


def test_a_refused_search_is_one_row():
    world, stored = World(refused=frozenset({"c0"})), Stored()
    play(stored.state(plan_of(sweep(2))), world, stored)
    assert [t.learning_rate for t in stored.trials if t.context == "c0"] == [None]


def test_a_probe_that_is_given_up_is_refused_with_the_outcome():
    state = RunState(plan_of(sweep(2)), lambda measured: None)
    (probe,) = state.first(state.plan.phases[0])
    one, other = probe.halves()
    assert state.handle(Probed(tuple(map(World().probe, other.problems)))) == []
    store, untrained, batch = state.handle(GivenUp(one, 3, Outcome.OUT_OF_MEMORY, "full"))
    assert store == StoreProbes(
        one.id, (Refused(problem=one.problems[0], outcome=Outcome.OUT_OF_MEMORY, message="full"),)
    )
    assert [(t.outcome, t.learning_rate) for t in untrained.trials] == [(Outcome.OUT_OF_MEMORY, None)]
    assert {t.problem.key for t in batch.trials} == {other.problems[0].key}


def test_a_batch_that_is_given_up_ends_its_searches_and_no_other():
    world, stored = World(), Stored()
    state = stored.state(plan_of(sweep(2)))
    (probe,) = state.first(state.plan.phases[0])
    (batch,) = state.handle(Probed(tuple(map(world.probe, probe.problems))))
    mine = [t for t in batch.trials if t.problem.context.id == "c0"]
    alone = type(batch)(id="x", model=batch.model, trials=tuple(mine))
    others = type(batch)(id="y", model=batch.model, trials=tuple(t for t in batch.trials if t not in mine))
    (stores,) = state.handle(GivenUp(alone, 3, Outcome.ERROR, "why"))
    assert (stores.attempt, {t.message for t in stores.trials}) == (3, {"why"})
    waiting = deque(state.handle(Trained(others, tuple(world.train(others.trials)))))
    while waiting:
        task = waiting.popleft()
        assert {t.problem.context.id for t in task.trials} == {"c1"}
        waiting += state.handle(Trained(task, tuple(world.train(task.trials))))
    assert [s.finished for s in shown(state, elapsed=1.0, workers=1).searches] == [True, True]


def test_two_names_for_one_problem_are_refused():
    state = RunState(plan_of(sweep(2)), lambda measured: None)
    (probe,) = state.first(state.plan.phases[0])
    one, other = map(World().probe, probe.problems)
    twin = type(other)(
        problem=other.problem.model_copy(update={"context": other.problem.context}),
        model=one.model,
        pair=one.pair,
        kappa=one.kappa,
    )
    with pytest.raises(InputError, match="are the same problem: equal weights, tokens and settings"):
        state.handle(Probed((one, twin)))


def test_an_extended_sweep_trains_only_what_is_new():
    world, stored = World(), Stored()
    play(stored.state(plan_of(sweep(2, rates=[0.1, 0.2]))), world, stored)
    world.trained.clear()
    play(stored.state(plan_of(sweep(3, rates=[0.1, 0.2, 0.4]))), world, stored)
    assert sorted(world.trained) == [("c0", 0.4), ("c1", 0.4), ("c2", 0.1), ("c2", 0.2), ("c2", 0.4)]


def test_a_search_starts_where_it_is_expected_to_end():
    plan = plan_of(sweep(1))
    state = RunState(plan, lambda measured: (1.0, 1.11, 1.2))
    (probe,) = state.first(state.plan.phases[0])
    (batch,) = state.handle(Probed(tuple(map(World().probe, probe.problems))))
    low, high = sorted(t.learning_rate for t in batch.trials)
    assert low < 1.11 < high < 1.05 * low, "a pair around it closes the bracket if it is right"


def test_time_left_follows_from_what_this_start_has_done():
    world, stored = World(), Stored()
    plan = plan_of(sweep(2, rates=[0.1, 0.2, 0.3, 0.4]), memory_bytes=1.0)  # each trial is a batch
    play(stored.state(plan), world, stored, tasks=3)
    state = stored.state(plan)
    before = shown(state, elapsed=5.0, workers=2)
    assert (before.done, before.expected, before.left) == (2, 8, None), "an earlier start tells nothing"
    task = state.first(state.plan.phases[0])[0]
    state.handle(Trained(task, tuple(world.train(task.trials))))
    after = shown(state, elapsed=10.0, workers=2)
    assert (after.done, after.trials_per_second, after.left) == (3, 0.1, 50.0)
