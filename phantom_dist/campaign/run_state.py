"""What a run has measured and what it does next, as a pure state machine: events in, commands out.

| event | what it means |
|---|---|
| `Probed` | workers measured or refused problems, and stored it |
| `Trained` | a batch is trained and stored |
| `GivenUp` | the ledger gave a task up; nothing of it is stored |

| command | what the driver does |
|---|---|
| a task | has it run |
| `StoreUntrained` | stores a row for each trial that is not trained |
| `StoreProbes` | stores a row for each problem whose probe was given up |

There is no clock, no process and no file here. Every decision follows from what is stored, so a run that was
interrupted at any moment goes on by the same code, and so does one whose sweep gained values on its axes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from phantom_dist.campaign.progress import Progress, SearchProgress
from phantom_dist.core.errors import InputError
from phantom_dist.core.measurement import Trial, Untrained, content_address
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.probe_result import Measured, ProbeResult, Refused
from phantom_dist.core.summaries import TrialSummary
from phantom_dist.core.trial import Problem
from phantom_dist.instruments.kernel_rate import effective_steps
from phantom_dist.planning.batches import BatchGroup
from phantom_dist.planning.plan import Plan
from phantom_dist.refinement.root_search import Expected
from phantom_dist.refinement.search import EXPECTED_TRIALS, Search
from phantom_dist.scheduling.executor import RankGroup
from phantom_dist.scheduling.tasks import ProbeTask, Task, TrainTask, batch_id, train_task


@dataclass(frozen=True, slots=True)
class Probed:
    """Workers measured or refused these problems, and stored it."""

    results: tuple[ProbeResult, ...]


@dataclass(frozen=True, slots=True)
class Trained:
    """A batch is trained and stored; its trials ended like this."""

    task: TrainTask
    trials: tuple[TrialSummary, ...]


@dataclass(frozen=True, slots=True)
class GivenUp:
    """The ledger gave a task up after so many attempts."""

    task: Task
    attempt: int
    outcome: Outcome
    message: str


Event = Probed | Trained | GivenUp


@dataclass(frozen=True, slots=True)
class StoreUntrained:
    """Store a row for each of these trials; `attempt` is the one that was the last."""

    trials: tuple[Untrained, ...]
    attempt: int

    @property
    def batch(self) -> str:
        """The name of the batch that they are stored as."""
        return batch_id((trial.probed.problem.key, trial.learning_rate) for trial in self.trials)


@dataclass(frozen=True, slots=True)
class StoreProbes:
    """Store a row for each of these problems, as the batch of that name."""

    batch: str
    results: tuple[Refused, ...]


Command = ProbeTask | TrainTask | StoreUntrained | StoreProbes


class RunState:
    """One run: its plan, what is measured of it, and what is being trained.

    Args:
        plan: what the run does.
        expected: where the search of a problem starts, if anything predicts it.
    """

    def __init__(self, plan: Plan, expected: Callable[[Measured], Expected | None]) -> None:
        self.plan = plan
        self._expected = expected
        self._problems = {problem.key: problem for problem in plan.problems}
        self._results: dict[str, ProbeResult] = {}
        self._contents: dict[str, Problem] = {}  # of each content address
        self._searches: dict[str, Search] = {}
        self._settled: set[str] = set()  # searches that want nothing more
        self._trials: dict[str, list[TrialSummary]] = {key: [] for key in self._problems}
        self._outcomes: Counter[str] = Counter()
        self._groups_of: dict[str, list[BatchGroup]] = {key: [] for key in self._problems}
        for group in plan.batch_groups:
            for problem in group.problems:
                self._groups_of[problem.key].append(group)
        self._in_training: dict[BatchGroup, int] = dict.fromkeys(plan.batch_groups, 0)  # trials of each
        self._restored = 0  # trials that an earlier start stored
        self._shown: dict[str, SearchProgress] = {}  # of problems about which nothing new is known

    # -- what is stored -----------------------------------------------------------------------------------------------

    def restore(self, results: Iterable[ProbeResult], trials: Iterable[TrialSummary]) -> None:
        """Take in what an earlier start stored; what belongs to no problem of the plan is left out.

        Raises:
            InputError: two problems are the same.
        """
        for trial in trials:
            if trial.problem in self._problems:
                self._take_in(trial)
                self._restored += 1
        for result in results:
            if result.problem.key in self._problems:
                self._know(result)

    def trials_of(self, problem: str) -> tuple[TrialSummary, ...]:
        """The trials that are stored of the problem with that key."""
        return tuple(self._trials[problem])

    # -- events in, commands out --------------------------------------------------------------------------------------

    def first(self, phase: RankGroup | None) -> list[Command]:
        """What a phase of the plan begins with: probes of what is unknown, and what can be trained already."""
        mine = (p for p in self.plan.problems if self.plan.rank_group_of(p) == phase)
        unknown = tuple(problem for problem in mine if problem.key not in self._results)
        commands: list[Command] = [*self.plan.probe_tasks(unknown)]
        for group in self.plan.batch_groups:
            if self.plan.rank_group_of(group.problems[0]) == phase:
                commands += self._next_batch(group)
        return commands

    def handle(self, event: Event) -> list[Command]:
        """Take in one event; the commands that follow from it, in order.

        Raises:
            InputError: two problems are the same.
        """
        match event:
            case Probed(results):
                return list(self._probed(results))
            case Trained(task, trials):
                for trial in trials:
                    self._take_in(trial)
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
            self._know(result)
        for result in results:
            for group in self._groups_of[result.problem.key]:
                yield from self._next_batch(group)

    def _trained(self, task: TrainTask) -> Iterator[Command]:
        """What the batch group of a task wants next; a batch that was halved is over with its last part."""
        group = self._group_of(task.trials[0])
        self._in_training[group] -= len(task.trials)
        yield from self._next_batch(group)

    def _next_batch(self, group: BatchGroup) -> Iterator[Command]:
        """The batch that the group trains next: once all its problems are probed, and nothing of it is in training.

        So what shares a batch follows from the plan, whoever is faster.
        """
        if self._in_training[group] or any(problem.key not in self._results for problem in group.problems):
            return
        wanted: dict[str, tuple[Measured, tuple[float, ...]]] = {}
        for problem in group.problems:
            result = self._results[problem.key]
            if isinstance(result, Refused):
                yield from self._refuse(result)
            else:
                wanted[problem.key] = result, self._next_learning_rates(problem, group)
        trials = [
            Trial(measured=measured, learning_rate=candidate)
            for problem, rate in group.members
            if problem.key in wanted
            for measured, candidates in (wanted[problem.key],)
            for candidate in candidates
            if rate is None or rate == candidate
        ]
        self._in_training[group] = len(trials)
        if trials:
            seconds = sum(self.plan.trial_seconds(trial.problem, len(trials)) for trial in trials)
            yield train_task(trials, seconds, self.plan.needed_memory(group.kind))

    def _next_learning_rates(self, problem: Problem, group: BatchGroup) -> tuple[float, ...]:
        search = self._searches[problem.key]
        rates = search.next_learning_rates(
            self._trials[problem.key], trials_per_search=group.trials_per_search
        )
        if not rates:
            self._settled.add(problem.key)
            self._shown.pop(problem.key, None)
        return rates

    def _refuse(self, refused: Refused) -> Iterator[Command]:
        """One row for each given learning rate, or a single one for a search; what is stored already is left alone."""
        key = refused.problem.key
        rates: tuple[float | None, ...] = self.plan.learning_rates or (None,)
        stored = {trial.learning_rate for trial in self._trials[key]}
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
            self._take_in(_summary(trial, command.batch))
        return command

    def _group_of(self, trial: Trial) -> BatchGroup:
        """The batch group that wanted the trial: the one with its learning rate, or that searches for its problem."""
        members = ((trial.problem, trial.learning_rate), (trial.problem, None))
        groups = self._groups_of[trial.problem.key]
        return next(group for group in groups if any(member in group.members for member in members))

    # -- what is known ------------------------------------------------------------------------------------------------

    def _know(self, result: ProbeResult) -> None:
        key = result.problem.key
        self._refuse_twin(result)
        self._results[key] = result
        self._shown.pop(key, None)
        if isinstance(result, Measured):
            problem = result.problem
            steps = effective_steps(problem.steps, problem.schedule, problem.optimizer)
            self._searches[key] = Search(
                gap_0=result.gap_0,
                slope_0=steps * result.kappa,
                learning_rates=self.plan.learning_rates,
                tolerance=self.plan.tolerance,
                expected=self._expected(result) if self.plan.tolerance is not None else None,
            )

    def _refuse_twin(self, result: ProbeResult) -> None:
        """Two problems whose trials are the same by content would give every trial two rows."""
        twin = self._contents.setdefault(content_address(result, None), result.problem)
        if twin.key != result.problem.key:
            raise InputError(
                f"{_name(twin)} and {_name(result.problem)} are the same problem: equal weights, tokens and settings "
                f"under two names. Leave one of them out and choose a new --out."
            )

    def _take_in(self, trial: TrialSummary) -> None:
        self._trials[trial.problem].append(trial)
        self._outcomes[trial.outcome.value] += 1
        self._shown.pop(trial.problem, None)

    # -- where it stands ----------------------------------------------------------------------------------------------

    def progress(self, *, elapsed: float, workers: int) -> Progress:
        """Where the run stands, so many seconds (s) after it started, on so many workers."""
        for key, problem in self._problems.items():
            # It is asked for at every heartbeat, and a search that looks at its trials takes 0.2 ms.
            if key not in self._shown:
                self._shown[key] = self._search_progress(key, problem)
        searches = tuple(map(self._shown.__getitem__, self._problems))
        done, expected = sum(s.trials for s in searches), sum(s.expected for s in searches)
        rate = (done - self._restored) / elapsed if elapsed else 0.0
        return Progress(
            name=self.plan.spec.name,
            elapsed=elapsed,
            left=(expected - done) / rate if rate else None,
            done=done,
            expected=expected,
            trials_per_second=rate,
            outcomes=dict(self._outcomes),
            searches=searches,
            workers=workers,
        )

    def _search_progress(self, key: str, problem: Problem) -> SearchProgress:
        trials, search = self._trials[key], self._searches.get(key)
        refused = isinstance(self._results.get(key), Refused)
        all_given = self.plan.tolerance is None and len(trials) >= len(self.plan.learning_rates)
        finished = refused or all_given or key in self._settled
        bracket = search.bracket(trials) if search is not None else None
        fallback = len(self.plan.learning_rates) or EXPECTED_TRIALS
        return SearchProgress(
            name=_name(problem),
            trials=len(trials),
            expected=len(trials) if finished else (search.expected_trials(trials) if search else fallback),
            bracket=(bracket.low, bracket.high) if bracket else None,
            finished=finished,
        )


def _summary(untrained: Untrained, batch: str) -> TrialSummary:
    """What will be stored of a trial that is not trained, as far as it matters here."""
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


def _name(problem: Problem) -> str:
    return f"{problem.model} {problem.context.id} {problem.method} {problem.optimizer.name} T={problem.steps}"
