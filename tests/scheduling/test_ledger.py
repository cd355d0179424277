"""The ledger as a state machine, over random orders of events."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from phantom_dist.core.outcome import Outcome
from phantom_dist.core.trial import Context, Optimizer, Problem
from phantom_dist.scheduling.ledger import FREE_PREEMPTIONS, MAX_ATTEMPTS, SLOW, STUCK_AT_LEAST_S, Ledger
from phantom_dist.scheduling.messages import (
    Added,
    Discard,
    Done,
    Drain,
    Failed,
    GiveUp,
    Joined,
    Lost,
    Replace,
    Start,
    Tick,
)
from phantom_dist.scheduling.tasks import probe_task
from phantom_dist.scheduling.worker_memory import MISSING_S

CONTEXT = Context(id="c", text="a b", target=" c", competitor=" d")


def problem(number: int, model: str = "m") -> Problem:
    return Problem(
        model=model, context=CONTEXT, method="full", optimizer=Optimizer(name="sgd"), steps=number + 1
    )


def task(*numbers: int, model: str = "m", seconds: float = 0.0, memory: float = 0.0):
    return probe_task((problem(n, model) for n in numbers), seconds=seconds, memory_bytes=memory)


class LedgerMachine(RuleBasedStateMachine):
    """Every problem that was added ends exactly once: done, or given up alone. Reports may come twice or too late."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = ledger_of("abc")
        self.workers = {"a", "b", "c"}  # those that are there
        self.now = 0.0
        self.added = 0
        self.ended: Counter[int] = Counter()
        self.holds: dict[str, Start] = {}
        self.void: list[Start] = []  # leases that are over
        self.leases: set[int] = set()
        self.discarded: set[str] = set()
        self.draining = False

    def tell(self, event):
        self.carry_out(self.ledger.handle(event, self.now))

    def carry_out(self, commands):
        for command in commands:
            if isinstance(command, Start):
                assert command.worker in self.workers
                assert command.worker not in self.holds, "a worker holds one task at a time"
                assert not self.draining
                assert command.attempt <= MAX_ATTEMPTS
                assert command.lease > max(self.leases, default=0), "leases only grow"
                self.leases.add(command.lease)
                self.holds[command.worker] = command
            elif isinstance(command, Replace):
                self.workers.discard(command.worker)
                if command.worker in self.holds:
                    self.void.append(self.holds.pop(command.worker))
            elif isinstance(command, Discard):
                running = {held.task.id for held in self.holds.values()}
                assert command.task.id not in running, "nobody is at it any more"
                self.discarded.add(command.task.id)
            elif isinstance(command, GiveUp):
                assert command.task.size == 1, "the culprit is found before anything is given up"
                assert command.task.id in self.discarded
                self.end(command.task)

    def end(self, task):
        self.ended.update(p.steps for p in task.problems)

    def release(self, data):
        worker = data.draw(st.sampled_from(sorted(self.holds)))
        self.void.append(self.holds.pop(worker))
        return self.void[-1]

    @rule(size=st.integers(1, 5), model=st.sampled_from("mno"), seconds=st.sampled_from([0.0, 1.0, 20.0]))
    def add(self, size, model, seconds):
        numbers = range(self.added, self.added + size)
        self.added += size
        self.tell(Added((task(*numbers, model=model, seconds=seconds),)))

    @rule(seconds=st.floats(0, 100) | st.just(STUCK_AT_LEAST_S))
    def time_passes(self, seconds):
        self.now += seconds
        self.tell(Tick())

    @precondition(lambda self: self.holds)
    @rule(data=st.data())
    def finish(self, data):
        held = self.release(data)
        self.end(held.task)
        self.tell(Done(held.worker, held.lease))

    @precondition(lambda self: self.holds)
    @rule(data=st.data(), outcome=st.sampled_from([Outcome.OUT_OF_MEMORY, Outcome.ERROR]))
    def fail(self, data, outcome):
        held = self.release(data)
        self.tell(Failed(held.worker, held.lease, outcome, "why"))

    @precondition(lambda self: self.holds)
    @rule(data=st.data(), preempted=st.booleans())
    def die(self, data, preempted):
        held = self.release(data)
        commands = self.ledger.handle(Lost(held.worker, held.lease, "gone", preempted), self.now)
        assert commands[0] == Replace(held.worker)
        self.carry_out(commands)

    @precondition(lambda self: self.void)
    @rule(data=st.data(), what=st.sampled_from(["done", "failed", "lost"]))
    def report_again(self, data, what):
        old = data.draw(st.sampled_from(self.void))
        late = {
            "done": Done(old.worker, old.lease),
            "failed": Failed(old.worker, old.lease, Outcome.ERROR, "late"),
            "lost": Lost(old.worker, old.lease, "late"),
        }[what]
        assert self.ledger.handle(late, self.now) == [], "a void lease changes nothing"

    @rule(name=st.sampled_from("abcde"))
    def join(self, name):
        self.workers.add(name)
        self.tell(Joined(name))

    @rule(really=st.integers(0, 9))
    def drain(self, really):
        if really == 0:
            self.draining = True
            self.tell(Drain())

    @invariant()
    def nothing_ends_twice(self):
        assert all(count == 1 for count in self.ended.values())

    @invariant()
    def no_worker_idles_while_work_waits(self):
        running = {p.steps for held in self.holds.values() for p in held.task.problems}
        waits = self.added - len(self.ended) - len(running)
        assert self.draining or waits == 0 or len(self.holds) == len(self.workers)

    def teardown(self):
        self.join("a")
        while self.holds:
            worker, held = self.holds.popitem()
            self.end(held.task)
            self.tell(Done(worker, held.lease))
        assert self.ledger.finished
        assert self.ledger.waiting == (len(self.ended) < self.added)
        assert self.draining or not self.ledger.waiting
        assert all(count == 1 for count in self.ended.values())


class MemoryMachine(RuleBasedStateMachine):
    """Workers of several sizes: a task waits for one that is large enough, but not forever."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.now = 0.0
        self.memory: dict[str, float] = {}  # of those that are there
        self.away: dict[
            str, tuple[float, float]
        ] = {}  # memory of those that were there, and since when they aren't
        self.holds: dict[str, Start] = {}
        self.added = 0

    def tell(self, event):
        for command in self.ledger.handle(event, self.now):
            if isinstance(command, Replace):
                self.away[command.worker] = (self.memory.pop(command.worker), self.now)
                self.holds.pop(command.worker, None)
            elif isinstance(command, Start):
                self.holds[command.worker] = command
                assert command.task.memory_bytes <= self.reach(command.worker)

    def reach(self, worker):
        missed = [memory for memory, since in self.away.values() if self.now - since <= MISSING_S]
        mine = self.memory[worker]
        return math.inf if mine >= max([*self.memory.values(), *missed]) else mine

    @rule(name=st.sampled_from("abcd"), memory=st.sampled_from([1.0, 2.0, 4.0]))
    def join(self, name, memory):
        if name not in self.memory:
            self.memory[name] = memory
            self.away.pop(name, None)
            self.tell(Joined(name, memory))

    @rule(size=st.integers(1, 3), memory=st.sampled_from([0.0, 1.0, 2.0, 4.0]), model=st.sampled_from("mn"))
    def add(self, size, memory, model):
        numbers = range(self.added, self.added + size)
        self.added += size
        self.tell(Added((task(*numbers, model=model, memory=memory),)))

    @precondition(lambda self: self.holds)
    @rule(data=st.data(), event=st.sampled_from([Done, Failed, Lost]))
    def end(self, data, event):
        held = self.holds.pop(data.draw(st.sampled_from(sorted(self.holds))))
        more = () if event is Done else ("gone",) if event is Lost else (Outcome.OUT_OF_MEMORY, "full")
        self.tell(event(held.worker, held.lease, *more))

    @rule(seconds=st.sampled_from([1.0, MISSING_S / 2, MISSING_S + 1]))
    def time_passes(self, seconds):
        self.now += seconds
        self.tell(Tick())

    @invariant()
    def nobody_idles_who_could_take_something(self):
        idle = [worker for worker in self.memory if worker not in self.holds]
        if self.ledger.waiting:
            assert all(self.reach(worker) < math.inf for worker in idle), "the largest could take anything"

    def teardown(self):
        self.join("a", 1.0)
        self.time_passes(MISSING_S + 1)
        while self.holds:
            worker, held = self.holds.popitem()
            self.tell(Done(worker, held.lease))
        assert self.ledger.finished, "once the larger ones don't come back, who is there takes it"


def test_a_task_waits_for_the_large_worker_that_is_expected():
    ledger = Ledger(expected_memory=4.0)
    assert ledger.handle(Added((task(1, memory=4.0), task(2, memory=1.0))), 0) == []
    small = only(ledger.handle(Joined("small", 1.0), 1))
    assert small.task.memory_bytes == 1.0
    assert ledger.handle(Done("small", small.lease), 2) == [], "the other one is too large for it"
    large = only(ledger.handle(Joined("large", 4.0), 3))
    assert ledger.handle(Lost("large", large.lease, "gone", preempted=True), 4) == [Replace("large")]
    assert ledger.handle(Tick(), 4 + MISSING_S) == []
    assert only(ledger.handle(Tick(), 5 + MISSING_S)).worker == "small", "better than to wait for ever"


def test_a_large_worker_takes_first_what_only_it_can_take():
    ledger = ledger_of("a")
    work = (task(1, memory=1.0, seconds=9.0), task(2, memory=2.0, seconds=1.0))
    assert only(ledger.handle(Added(work), 0)).task.memory_bytes == 2.0


TestMemory = MemoryMachine.TestCase
TestMemory.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)

TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def ledger_of(workers) -> Ledger:
    ledger = Ledger()
    for worker in workers:
        assert ledger.handle(Joined(worker), 0) == []
    return ledger


def starts(commands):
    return [(c.worker, c.task.model) for c in commands if isinstance(c, Start)]


def only(commands) -> Start:
    (command,) = commands
    assert isinstance(command, Start)
    return command


def test_tasks_go_to_the_worker_that_holds_their_model():
    ledger = ledger_of("ab")
    first, second = ledger.handle(Added((task(1, model="m"), task(2, model="n"))), 0)
    assert starts([first, second]) == [("a", "m"), ("b", "n")]
    ledger.handle(Added((task(3, model="n"), task(4, model="m"))), 0)
    assert starts(ledger.handle(Done("a", first.lease), 1)) == [("a", "m")]


def test_a_second_worker_takes_another_model_while_there_is_one():
    ledger = ledger_of("ab")
    commands = ledger.handle(Added((task(1, model="m"), task(2, model="m"), task(3, model="n"))), 0)
    assert starts(commands) == [("a", "m"), ("b", "n")]


def test_further_workers_go_where_most_work_is_left_for_each():
    ledger = ledger_of("abcde")
    work = [task(n, model="m", seconds=10.0) for n in range(9)] + [
        task(n, model="n", seconds=1.0) for n in range(9)
    ]
    commands = ledger.handle(Added(tuple(work)), 0)
    assert Counter(model for _, model in starts(commands)) == {"m": 4, "n": 1}


def test_the_longest_task_goes_first():
    ledger = ledger_of("a")
    commands = ledger.handle(Added((task(1, seconds=1.0), task(2, seconds=9.0), task(3, seconds=5.0))), 0)
    seen = []
    while commands:
        started = only(commands)
        seen.append(started.task.seconds)
        commands = ledger.handle(Done("a", started.lease), len(seen))
    assert seen == [9.0, 5.0, 1.0]


def test_out_of_memory_runs_halves_and_gives_up_the_one_that_is_alone():
    ledger = ledger_of("a")
    whole = only(ledger.handle(Added((task(1, 2),)), 0))
    discard, first = ledger.handle(Failed("a", whole.lease, Outcome.OUT_OF_MEMORY, "full"), 0)
    assert discard == Discard(whole.task)
    assert [p.steps for p in first.task.problems] == [2]
    discard, gave_up, second = ledger.handle(Failed("a", first.lease, Outcome.OUT_OF_MEMORY, "full"), 0)
    assert discard == Discard(first.task)
    assert isinstance(gave_up, GiveUp)
    assert (gave_up.outcome, gave_up.message) == (Outcome.OUT_OF_MEMORY, "full")
    assert isinstance(second, Start)
    assert [p.steps for p in second.task.problems] == [3]


@pytest.mark.parametrize("dies", [True, False])
def test_an_error_is_retried_a_bounded_number_of_times(dies):
    ledger = ledger_of("a")
    commands = ledger.handle(Added((task(1),)), 0)
    attempts = 0
    while not any(isinstance(c, GiveUp) for c in commands):
        started = commands[-1]
        attempts += 1
        assert started.attempt == attempts
        event = Lost("a", started.lease, "gone") if dies else Failed("a", started.lease, Outcome.ERROR, "why")
        commands = ledger.handle(event, 0)
        if dies:
            assert commands[0] == Replace("a")
            commands += ledger.handle(Joined("a"), 0)
    assert attempts == MAX_ATTEMPTS
    assert ledger.finished


def test_preemptions_are_not_counted_until_they_cant_be_chance():
    """A task that takes its machine down each time looks preempted, and must not be repeated forever."""
    ledger = ledger_of("a")
    started = only(ledger.handle(Added((task(1),)), 0))
    for _ in range(FREE_PREEMPTIONS):
        assert ledger.handle(Lost("a", started.lease, "spot", preempted=True), 0) == [Replace("a")]
        started = only(ledger.handle(Joined("a"), 0))
        assert started.attempt == 1
    for attempt in range(2, MAX_ATTEMPTS + 1):
        ledger.handle(Lost("a", started.lease, "spot", preempted=True), 0)
        started = only(ledger.handle(Joined("a"), 0))
        assert started.attempt == attempt
    ended = ledger.handle(Lost("a", started.lease, "spot", preempted=True), 0)
    assert ended[-1] == GiveUp(started.task, MAX_ATTEMPTS, Outcome.ERROR, "spot")
    assert ledger.finished


def slow_task(now: float):
    """Two workers; `a` has finished a task of 10 s in 10 s, `b` has held another one since 0."""
    ledger = ledger_of("ab")
    first, slow = ledger.handle(Added((task(1, seconds=10.0), task(2, seconds=10.0))), 0)
    ledger.handle(Done("a", first.lease), 10)
    return ledger, slow, ledger.handle(Tick(), now)


def test_a_slow_task_is_copied_to_an_idle_worker_and_the_first_to_finish_counts():
    ledger, slow, commands = slow_task(2 * SLOW * 10 + 1)
    copy = only(commands)
    assert (copy.worker, copy.task, copy.attempt) == ("a", slow.task, 1)
    assert ledger.handle(Tick(), 1000) == [], "one copy is enough"
    assert ledger.handle(Done("a", copy.lease), 1001) == [Replace("b")]
    assert ledger.finished
    assert ledger.handle(Done("b", slow.lease), 1002) == []


def test_a_stuck_task_is_ended_and_tried_again_a_bounded_number_of_times():
    ledger, now = ledger_of("a"), 0.0
    started = only(ledger.handle(Added((task(1, seconds=10.0),)), now))
    for attempt in range(2, MAX_ATTEMPTS + 1):
        assert ledger.handle(Tick(), now + STUCK_AT_LEAST_S) == []
        now += STUCK_AT_LEAST_S + 1
        assert ledger.handle(Tick(), now) == [Replace("a")]
        started = only(ledger.handle(Joined("a"), now))
        assert started.attempt == attempt
    replace, _, gave_up = ledger.handle(Tick(), now + STUCK_AT_LEAST_S + 1)
    assert replace == Replace("a")
    assert "stuck: no end after 3601 s, expected after 10 s" in gave_up.message
    assert ledger.finished


def test_a_task_whose_copies_are_stuck_as_well_is_given_up():
    """Each stuck copy counts as a failure; else two workers would pass the task back and forth forever."""
    ledger, slow, commands = slow_task(100)
    now, starts_seen = 100.0, 1
    while not ledger.finished:
        starts_seen += sum(isinstance(c, Start) for c in commands)
        assert starts_seen <= MAX_ATTEMPTS + 1, "the first, a copy of it, and what is left of the attempts"
        now += 1000
        commands = ledger.handle(Tick(), now)
        for command in list(commands):
            if isinstance(command, Replace):
                commands += ledger.handle(Joined(command.worker), now)
    (gave_up,) = [c for c in commands if isinstance(c, GiveUp)]
    assert gave_up.task == slow.task
    assert "stuck" in gave_up.message


def test_a_task_that_is_in_time_is_not_copied():
    assert slow_task(2 * SLOW * 10 - 1)[2] == []


@pytest.mark.parametrize(("spread", "copied"), [(1.1, True), (4.0, False)])
def test_a_late_task_is_copied_before_others_only_where_predictions_have_held(spread, copied):
    """Every second of 40 tasks of 10 s takes `spread` times as long; one is 10 times late while 1000 others wait."""
    ledger = ledger_of("ab")
    work = [task(n, seconds=10.0) for n in range(1041)]
    slow, started = ledger.handle(Added(tuple(work)), 0)
    now = 0.0
    for number in range(40):
        now += 10 * (spread if number % 2 else 1.0)
        started = only(ledger.handle(Done("b", started.lease), now))
    assert ledger.handle(Tick(), now) == [], "nobody idles"
    following = only(ledger.handle(Done("b", started.lease), now + 10))
    assert (following.task == slow.task) == copied


@pytest.mark.parametrize("preempted", [True, False])
def test_a_copy_stands_in_for_a_worker_that_dies(preempted):
    ledger, slow, (copy,) = slow_task(100)
    assert ledger.handle(Lost("b", slow.lease, "gone", preempted), 101) == [Replace("b")]
    assert ledger.handle(Done("a", copy.lease), 102) == []
    assert ledger.finished


def test_work_waits_until_somebody_joins():
    ledger = Ledger()
    assert ledger.handle(Added((task(1),)), 0) == []
    assert starts(ledger.handle(Joined("a"), 0)) == [("a", "m")]
    assert ledger.handle(Joined("a"), 1) == [], "it is busy"
    assert not ledger.finished


def test_out_of_memory_that_killed_its_process_is_split_as_well():
    ledger = ledger_of("a")
    whole = only(ledger.handle(Added((task(1, 2),)), 0))
    lost = Lost("a", whole.lease, "killed", outcome=Outcome.OUT_OF_MEMORY)
    assert ledger.handle(lost, 0) == [Replace("a"), Discard(whole.task)]
    assert [p.steps for p in only(ledger.handle(Joined("a"), 1)).task.problems] == [2]


def test_nothing_is_started_while_it_drains_and_what_runs_may_end():
    ledger = ledger_of("a")
    started = only(ledger.handle(Added((task(1), task(2))), 0))
    assert ledger.handle(Drain(), 1) == []
    assert not ledger.finished
    assert ledger.handle(Done("a", started.lease), 2) == []
    assert ledger.finished
    assert ledger.waiting
