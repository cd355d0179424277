"""What a run has measured and what it does next, as a pure state machine: events in, commands out.

| event | what it means |
|---|---|
| `Probed` | workers probed problems and stored the results |
| `Trained` | a worker trained and stored a batch |
| `GivenUp` | the ledger gave up a task; nothing of it is stored |

| command | what the driver does |
|---|---|
| a task | runs it |
| `StoreUntrained` | stores a row for each trial that is not trained |
| `StoreProbes` | stores a row for each problem whose probe was given up |

There is no clock, process or file here. Every decision follows from what is stored. So the same code continues a run
that was interrupted at any moment, and one whose sweep gained values on its axes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from phantom_dist.campaign.progress import title
from phantom_dist.core.errors import InputError
from phantom_dist.core.measurement import Trial, Untrained, by_training, content_address
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.probe_result import Measured, ProbeResult, Refused
from phantom_dist.core.summaries import TrialSummary
from phantom_dist.core.trial import Problem
from phantom_dist.instruments.effective_steps import effective_steps
from phantom_dist.planning.batches import BatchGroup
from phantom_dist.planning.durations import trial_seconds
from phantom_dist.planning.plan import Phase, Plan
from phantom_dist.planning.probes import probe_tasks
from phantom_dist.refinement.root_search import Expected
from phantom_dist.refinement.search import Search
from phantom_dist.refinement.shared_search import Word, next_learning_rates
from phantom_dist.scheduling.tasks import ProbeTask, Task, TrainTask, batch_id, train_task
from phantom_dist.spec import multiples_of


@dataclass(frozen=True, slots=True)
class Probed:
    """Workers probed these problems and stored the results."""

    results: tuple[ProbeResult, ...]


@dataclass(frozen=True, slots=True)
class Trained:
    """A worker trained and stored a batch; `trials`: how its trials ended."""

    task: TrainTask
    trials: tuple[TrialSummary, ...]


@dataclass(frozen=True, slots=True)
class GivenUp:
    """The ledger gave up a task; `attempt`: its last attempt."""

    task: Task
    attempt: int
    outcome: Outcome
    message: str


Event = Probed | Trained | GivenUp


@dataclass(frozen=True, slots=True)
class StoreUntrained:
    """Store a row for each of these trials; `attempt`: the last attempt."""

    trials: tuple[Untrained, ...]
    attempt: int

    @property
    def batch(self) -> str:
        """The name of the batch under which they are stored."""
        return batch_id((trial.probed.problem.key, trial.learning_rate) for trial in self.trials)


@dataclass(frozen=True, slots=True)
class StoreProbes:
    """Store a row for each of these problems, as one batch."""

    batch: str
    results: tuple[Refused, ...]


Command = ProbeTask | TrainTask | StoreUntrained | StoreProbes


class RunState:
    """The state of one run: its plan, its results, and the trials in training.

    Args:
        plan: the plan.
        expected: predicts where the search of a problem starts; None without a prediction.

    Attributes, read-only and by a problem's key:
        problems: the plan's problems.
        results: their probe results.
        searches: the searches of measured problems.
        trials: summaries of each problem's trials, untrained ones included.
        settled: the problems whose searches are finished.
    """

    def __init__(self, plan: Plan, expected: Callable[[Measured], Expected | None]) -> None:
        self.plan = plan
        self._expected = expected
        self.problems = {problem.key: problem for problem in plan.problems}
        self.results: dict[str, ProbeResult] = {}
        self._by_address: dict[str, Problem] = {}  # by content address
        self.searches: dict[str, Search] = {}
        self.settled: set[str] = set()
        self.trials: dict[str, list[TrialSummary]] = {key: [] for key in self.problems}
        self.outcomes: Counter[str] = Counter()
        self._groups_of: dict[str, list[BatchGroup]] = {key: [] for key in self.problems}
        for group in plan.batch_groups:
            for problem in group.problems:
                self._groups_of[problem.key].append(group)
        self._in_training: dict[BatchGroup, int] = dict.fromkeys(plan.batch_groups, 0)  # number of trials
        self.restored = 0  # number of trials that earlier starts stored

    # -- results of earlier starts ------------------------------------------------------------------------------------

    def restore(self, results: Iterable[ProbeResult], trials: Iterable[TrialSummary]) -> None:
        """Add the results of earlier starts; results of problems that the plan doesn't contain are ignored.

        Raises:
            InputError: two problems are the same.
        """
        for trial in trials:
            if trial.problem in self.problems:
                self._add_trial(trial)
                self.restored += 1
        for result in results:
            if result.problem.key in self.problems:
                self._add_result(result)

    # -- events in, commands out --------------------------------------------------------------------------------------

    def first(self, phase: Phase) -> list[Command]:
        """The first commands of a phase: probes of problems without results, and batches that can start already."""
        batches = [command for group in phase.batch_groups for command in self._next_batch(group)]
        unprobed = [probe for probe in phase.probes if probe.problem.key not in self.results]
        return [*probe_tasks(unprobed), *batches]

    def handle(self, event: Event) -> list[Command]:
        """Handle one event: the commands that follow, in order.

        Raises:
            InputError: two problems are the same.
        """
        match event:
            case Probed(results):
                return list(self._probed(results))
            case Trained(task, trials):
                for trial in trials:
                    self._add_trial(trial)
                return list(self._trained(task))
            case GivenUp():
                return list(self._given_up(event))

    def _given_up(self, event: GivenUp) -> Iterator[Command]:
        task, outcome, message = event.task, event.outcome, event.message
        if isinstance(task, ProbeTask):
            refused = tuple(Refused(problem=p, outcome=outcome, message=message) for p in task.problems)
            yield StoreProbes(task.id, refused)
            yield from self._probed(refused)
            return
        untrained = tuple(
            Untrained(
                probed=trial.measured, learning_rate=trial.learning_rate, outcome=outcome, message=message
            )
            for trial in task.trials
        )
        yield self._store(untrained, event.attempt)
        yield from self._trained(task)

    def _probed(self, results: tuple[ProbeResult, ...]) -> Iterator[Command]:
        for result in results:
            self._add_result(result)
        for result in results:
            for group in self._groups_of[result.problem.key]:
                yield from self._next_batch(group)

    def _trained(self, task: TrainTask) -> Iterator[Command]:
        """The next batch of the task's batch group; a batch that was split is over once its last part is."""
        group = self._group_of(task.trials[0])
        self._in_training[group] -= len(task.trials)
        yield from self._next_batch(group)

    def _next_batch(self, group: BatchGroup) -> Iterator[Command]:
        """The next batch of a group, as soon as all its problems are probed and none of its trials is in training.

        So the members of a batch follow from the plan alone, whichever worker is faster.
        """
        if self._in_training[group] or any(problem.key not in self.results for problem in group.problems):
            return
        for problem in group.problems:
            result = self.results[problem.key]
            if isinstance(result, Refused):
                yield from self._refuse(result)
        trials = self._shared_trials(group) if group.is_shared_search else self._own_trials(group)
        self._in_training[group] = len(trials)
        for part in _parts(trials, group.lanes) if group.is_shared_search else [trials] * bool(trials):
            model = self.plan.models[part[0].problem.model]
            trainings = len(by_training(part))
            watched, chooser = math.ceil(len(part) / trainings), self.plan.chooser(group)
            seconds = sum(
                trial_seconds(trial.problem, model, group.rank_group, trainings, chooser, watched)
                for trial in part
            )
            yield train_task(part, seconds, group.memory_bytes)

    def _own_trials(self, group: BatchGroup) -> list[Trial]:
        """The next trials of a group whose problems have given rates, or search each on its own."""
        measured = self._measured(group)
        next_rates = {key: self._next_learning_rates(m.problem, group) for key, m in measured.items()}
        return [
            Trial(measured=measured[problem.key], learning_rate=candidate)
            for problem, rate in group.members
            if problem.key in measured
            for candidate in next_rates[problem.key]
            if rate is None or rate == candidate
        ]

    def _shared_trials(self, group: BatchGroup) -> list[Trial]:
        """The next trials of a group whose problems share their trainings: all contexts at each of the next rates."""
        measured = self._measured(group)
        words = [
            Word(search=self.searches[key], trials=self.trials[key])
            for key, m in measured.items()
            if not m.problem.context.held_out
        ]
        assert self.plan.tolerance is not None
        rates = next_learning_rates(words, self.plan.tolerance)
        if not rates:
            self.settled.update(measured)
        tried = {key: {trial.learning_rate for trial in self.trials[key]} for key in measured}
        return [
            Trial(measured=m, learning_rate=rate)
            for rate in rates
            for key, m in measured.items()
            if rate not in tried[key]
        ]

    def _measured(self, group: BatchGroup) -> dict[str, Measured]:
        results = {problem.key: self.results[problem.key] for problem in group.problems}
        return {key: result for key, result in results.items() if isinstance(result, Measured)}

    def _next_learning_rates(self, problem: Problem, group: BatchGroup) -> tuple[float, ...]:
        search = self.searches[problem.key]
        rates = search.next_learning_rates(
            self.trials[problem.key], trials_per_search=group.trials_per_search
        )
        if not rates:
            self.settled.add(problem.key)
        return rates

    def _refuse(self, refused: Refused) -> Iterator[Command]:
        """Store one row for each given learning rate, or one for a search, unless it is stored already."""
        key = refused.problem.key
        rates: tuple[float | None, ...] = self.plan.learning_rates or (None,)
        stored = {trial.learning_rate for trial in self.trials[key]}
        untrained = tuple(
            Untrained(probed=refused, learning_rate=rate, outcome=refused.outcome, message=refused.message)
            for rate in rates
            if rate not in stored
        )
        if untrained:
            yield self._store(untrained, attempt=1)

    def _store(self, untrained: tuple[Untrained, ...], attempt: int) -> StoreUntrained:
        command = StoreUntrained(untrained, attempt)
        for trial in untrained:
            self._add_trial(_summary(trial, command.batch))
        return command

    def _group_of(self, trial: Trial) -> BatchGroup:
        """The batch group to which the trial belongs, by its learning rate or by the search for its problem."""
        members = ((trial.problem, trial.learning_rate), (trial.problem, None))
        groups = self._groups_of[trial.problem.key]
        return next(group for group in groups if any(member in group.members for member in members))

    # -- results ------------------------------------------------------------------------------------------------------

    def _add_result(self, result: ProbeResult) -> None:
        key = result.problem.key
        self._refuse_twin(result)
        self.results[key] = result
        if isinstance(result, Measured):
            problem = result.problem
            steps = effective_steps(problem.steps, problem.schedule, problem.optimizer)
            self.searches[key] = Search(
                gap_0=result.gap_0,
                slope_0=steps * result.kappa,
                learning_rates=self.plan.learning_rates,
                tolerance=self.plan.tolerance,
                multiples=multiples_of(self.plan.spec),
                expected=self._expected(result) if self.plan.tolerance is not None else None,
                typical=self.plan.typical_trials,
            )

    def _refuse_twin(self, result: ProbeResult) -> None:
        """Refuse a problem with the content address of another one: every trial would have two rows."""
        twin = self._by_address.setdefault(content_address(result, None), result.problem)
        if twin.key != result.problem.key:
            raise InputError(
                f"{title(twin)} and {title(result.problem)} are the same problem: equal weights, tokens and settings "
                f"under two names. Leave one of them out and choose a new --out."
            )

    def _add_trial(self, trial: TrialSummary) -> None:
        self.trials[trial.problem].append(trial)
        self.outcomes[trial.outcome.value] += 1


def _parts(trials: Sequence[Trial], lanes: int) -> Iterator[list[Trial]]:
    """The trials in batches of nearly equal size, of at most so many trainings."""
    trainings = by_training(trials)
    size = math.ceil(len(trainings) / math.ceil(len(trainings) / lanes)) if trainings else 1
    for start in range(0, len(trainings), size):
        yield [trial for training in trainings[start : start + size] for trial in training]


def _summary(untrained: Untrained, batch: str) -> TrialSummary:
    """The summary of the row that will be stored for an untrained trial."""
    problem = untrained.probed.problem
    return TrialSummary(
        trial_id=untrained.id,
        problem=problem.key,
        model=problem.model,
        context=problem.context.id,
        learning_rate=untrained.learning_rate,
        outcome=untrained.outcome,
        gap_final=None,
        steps_taken=None,
        drag_final=None,
        structural_drag=None,
        batch=batch,
        wall_time=0.0,
        process_bytes=None,
        error=untrained.message,
        note=None,
    )
