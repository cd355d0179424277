"""The ledger as a state machine, over random orders of events."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from phantom_dist.core.outcome import Outcome
from phantom_dist.core.trial import Context, Optimizer, Problem
from phantom_dist.scheduling.ledger import (
    MAX_ATTEMPTS,
    Added,
    Done,
    Failed,
    GiveUp,
    Ledger,
    Lost,
    Replace,
    Start,
)
from phantom_dist.scheduling.tasks import probe_task

CONTEXT = Context(id="c", text="a b", target=" c", competitor=" d")


def problem(number: int, model: str = "m") -> Problem:
    return Problem(
        model=model, context=CONTEXT, method="full", optimizer=Optimizer(name="sgd"), steps=number + 1
    )


def task(*numbers: int, model: str = "m"):
    return probe_task(problem(n, model) for n in numbers)


class LedgerMachine(RuleBasedStateMachine):
    """Every problem that was added ends exactly once: done, or given up alone."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(["a", "b", "c"])
        self.added = 0
        self.ended: Counter[int] = Counter()
        self.holds = {}
        self.attempts: Counter[str] = Counter()

    def carry_out(self, commands):
        for command in commands:
            if isinstance(command, Start):
                assert command.worker not in self.holds, "a worker holds one task at a time"
                assert command.attempt <= MAX_ATTEMPTS
                self.holds[command.worker] = command.task
            elif isinstance(command, GiveUp):
                assert command.task.size == 1, "the culprit is found before anything is given up"
                self.ended.update(p.steps for p in command.task.problems)

    @rule(size=st.integers(1, 5), model=st.sampled_from("mno"))
    def add(self, size, model):
        numbers = range(self.added, self.added + size)
        self.added += size
        self.carry_out(self.ledger.handle(Added((task(*numbers, model=model),))))

    @precondition(lambda self: self.holds)
    @rule(data=st.data())
    def finish(self, data):
        worker = data.draw(st.sampled_from(sorted(self.holds)))
        self.ended.update(p.steps for p in self.holds.pop(worker).problems)
        self.carry_out(self.ledger.handle(Done(worker)))

    @precondition(lambda self: self.holds)
    @rule(data=st.data(), outcome=st.sampled_from([Outcome.OUT_OF_MEMORY, Outcome.ERROR]))
    def fail(self, data, outcome):
        worker = data.draw(st.sampled_from(sorted(self.holds)))
        del self.holds[worker]
        self.carry_out(self.ledger.handle(Failed(worker, outcome, "why")))

    @precondition(lambda self: self.holds)
    @rule(data=st.data())
    def die(self, data):
        worker = data.draw(st.sampled_from(sorted(self.holds)))
        del self.holds[worker]
        commands = self.ledger.handle(Lost(worker, "gone"))
        assert commands[0] == Replace(worker)
        self.carry_out(commands)

    @invariant()
    def nothing_ends_twice(self):
        assert all(count == 1 for count in self.ended.values())

    @invariant()
    def no_worker_idles_while_work_waits(self):
        waits = self.added - len(self.ended) - sum(t.size for t in self.holds.values())
        assert waits == 0 or len(self.holds) == 3

    def teardown(self):
        while self.holds:
            worker, held = self.holds.popitem()
            self.ended.update(p.steps for p in held.problems)
            self.carry_out(self.ledger.handle(Done(worker)))
        assert self.ledger.finished
        assert len(self.ended) == self.added
        assert all(count == 1 for count in self.ended.values())


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def starts(commands):
    return [(c.worker, c.task.model) for c in commands if isinstance(c, Start)]


def test_tasks_go_to_the_worker_that_holds_their_model():
    ledger = Ledger(["a", "b"])
    assert starts(ledger.handle(Added((task(1, model="m"), task(2, model="n"))))) == [("a", "m"), ("b", "n")]
    ledger.handle(Added((task(3, model="n"), task(4, model="m"))))
    assert starts(ledger.handle(Done("a"))) == [("a", "m")]


def test_a_second_worker_takes_another_model_while_there_is_one():
    ledger = Ledger(["a", "b"])
    commands = ledger.handle(Added((task(1, model="m"), task(2, model="m"), task(3, model="n"))))
    assert starts(commands) == [("a", "m"), ("b", "n")]


def test_out_of_memory_runs_halves_and_gives_up_the_one_that_is_alone():
    ledger = Ledger(["a"])
    ledger.handle(Added((task(1, 2),)))
    (first,) = ledger.handle(Failed("a", Outcome.OUT_OF_MEMORY, "full"))
    assert isinstance(first, Start)
    assert [p.steps for p in first.task.problems] == [2]
    gave_up, second = ledger.handle(Failed("a", Outcome.OUT_OF_MEMORY, "full"))
    assert isinstance(gave_up, GiveUp)
    assert (gave_up.outcome, gave_up.message) == (Outcome.OUT_OF_MEMORY, "full")
    assert isinstance(second, Start)
    assert [p.steps for p in second.task.problems] == [3]


@pytest.mark.parametrize("event", [Failed("a", Outcome.ERROR, "why"), Lost("a", "gone")])
def test_an_error_is_retried_a_bounded_number_of_times(event):
    ledger = Ledger(["a"])
    commands = ledger.handle(Added((task(1),)))
    attempts = 0
    while not any(isinstance(c, GiveUp) for c in commands):
        attempts += sum(isinstance(c, Start) for c in commands)
        commands = ledger.handle(event)
    assert attempts == MAX_ATTEMPTS
    assert ledger.finished
