"""The run's state over random orders of events: finished, split and abandoned tasks, crashes, growing sweeps."""

from __future__ import annotations

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from phantom_dist.campaign.progress_view import ProgressView
from phantom_dist.campaign.run_state import GivenUp, Probed, RunState, StoreProbes, StoreUntrained, Trained
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.probe_result import Measured
from phantom_dist.scheduling.tasks import ProbeTask

from .scripted import World, plan_of, sweep

MOST_CONTEXTS = 6
RATES = [0.2, 0.6, 1.4]


class RunMachine(RuleBasedStateMachine):
    """Whatever happens in whatever order, every trial is trained once, and at the end nothing is left to do."""

    rates: list[float] | None = None

    def __init__(self) -> None:
        super().__init__()
        self.contexts = 2
        self.world = World(refused=frozenset({"c1"}))
        self.results = {}  # what is stored
        self.trials = {}  # of each problem and learning rate
        self.given_up = set()  # problems
        self.begin()

    def begin(self):
        """Start the run: restore what is stored; tasks that were running are lost."""
        self.plan = plan_of(sweep(self.contexts, rates=self.rates))
        self.state = RunState(self.plan, lambda measured: None)
        self.state.restore(self.results.values(), self.trials.values())
        self.waiting = []
        for phase in self.plan.phases:
            self.carry_out(self.state.first(phase))

    def store(self, trials):
        for trial in trials:
            key = trial.problem, trial.learning_rate
            assert key not in self.trials, "no trial is stored twice"
            self.trials[key] = trial

    def carry_out(self, commands):
        for command in commands:
            match command:
                case StoreUntrained(untrained, _):
                    keys = {(t.probed.problem.key, t.learning_rate) for t in untrained}
                    self.store(
                        trial
                        for problem in {key for key, _ in keys}
                        for trial in self.state.trials[problem]
                        if (problem, trial.learning_rate) in keys
                    )
                case StoreProbes(_, results):
                    self.results |= {r.problem.key: r for r in results}
                case _:
                    self.waiting.append(command)

    def take(self, data):
        return self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))

    def end(self, task):
        if isinstance(task, ProbeTask):
            results = tuple(map(self.world.probe, task.problems))
            self.results |= {r.problem.key: r for r in results}
            self.carry_out(self.state.handle(Probed(results)))
        else:
            assert all(t.problem.key not in self.given_up or self.rates for t in task.trials)
            trials = tuple(self.world.train(task.trials))
            self.store(trials)
            self.carry_out(self.state.handle(Trained(task, trials)))

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def a_task_ends(self, data):
        self.end(self.take(data))

    @precondition(lambda self: any(task.size > 1 for task in self.waiting))
    @rule(data=st.data())
    def a_task_is_halved(self, data):
        task = self.take(data)
        self.waiting += task.halves() if task.size > 1 else [task]

    @precondition(lambda self: any(task.size == 1 for task in self.waiting))
    @rule(outcome=st.sampled_from([Outcome.ERROR, Outcome.OUT_OF_MEMORY]))
    def a_lone_task_is_given_up(self, outcome):
        task = next(task for task in self.waiting if task.size == 1)
        self.waiting.remove(task)
        problem = task.problems[0] if isinstance(task, ProbeTask) else task.trials[0].problem
        self.given_up.add(problem.key)
        self.carry_out(self.state.handle(GivenUp(task, 3, outcome, "why")))

    @rule()
    def the_driver_dies_and_starts_again(self):
        self.begin()

    @precondition(lambda self: self.contexts < MOST_CONTEXTS)
    @rule()
    def the_sweep_gains_a_context(self):
        self.contexts += 1
        self.begin()

    @invariant()
    def nothing_is_out_twice(self):
        out = Counter(
            (t.problem.key, t.learning_rate)
            for task in self.waiting
            if not isinstance(task, ProbeTask)
            for t in task.trials
        )
        assert all(count == 1 for count in out.values())
        assert not out.keys() & self.trials.keys()

    @invariant()
    def the_view_counts_what_is_stored(self):
        shown = ProgressView(self.state).progress(elapsed=1.0, workers=1)
        assert shown.done == sum(shown.outcomes.values()) == len(self.trials)
        assert shown.expected >= shown.done

    def teardown(self):
        while self.waiting:
            self.end(self.waiting.pop())
        for key, problem in self.state.problems.items():
            mine = [trial for (k, _), trial in self.trials.items() if k == key]
            assert mine, "every problem ends in at least one row"
            if isinstance(self.state.results[key], Measured) and key not in self.given_up:
                assert self.rates is None or {t.learning_rate for t in mine} == set(RATES)
                if self.rates is None:
                    bracket = self.state.searches[key].bracket(mine)
                    assert bracket is not None, problem.context.id
                    assert bracket.width <= 0.05 + 1e-9
        assert all(s.finished for s in ProgressView(self.state).progress(elapsed=1.0, workers=1).searches)
        self.begin()
        assert self.waiting == [], "another start finds nothing to do"


class GivenRatesMachine(RunMachine):
    rates = RATES


TestSearches = RunMachine.TestCase
TestGivenRates = GivenRatesMachine.TestCase
TestSearches.settings = TestGivenRates.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None
)
