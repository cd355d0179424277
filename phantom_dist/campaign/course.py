"""One start of a run: what is stored, what is still to be done, and how far it is.

Every decision follows from stored rows, so a run that was interrupted at any moment is continued by the same code.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from phantom_dist.campaign.budget import Budget
from phantom_dist.campaign.memory import PeakMemory
from phantom_dist.campaign.plan import Plan
from phantom_dist.campaign.progress import Progress, SearchProgress
from phantom_dist.core.errors import InputError
from phantom_dist.core.measurement import Trial, Untrained, content_address
from phantom_dist.core.probe_result import Measured, ProbeResult, Refused
from phantom_dist.core.trial import Problem
from phantom_dist.instruments.kernel_rate import effective_steps
from phantom_dist.law.domain import as_asked
from phantom_dist.law.file import read_law
from phantom_dist.law.law import Law
from phantom_dist.records import (
    execution_metadata,
    probe_result_from_row,
    probe_row,
    store_batch,
    store_probes,
)
from phantom_dist.refinement.root_search import Expected
from phantom_dist.refinement.search import EXPECTED_TRIALS, Search
from phantom_dist.scheduling.driver import HEARTBEAT_S, drive
from phantom_dist.scheduling.executor import Executor, Finished, Group
from phantom_dist.scheduling.ledger import GiveUp, Start
from phantom_dist.scheduling.packing import Cohort, pack_probes
from phantom_dist.scheduling.tasks import ProbeTask, Task, TrainTask, batch_id, train_task
from phantom_dist.traces import RunDirectory
from phantom_dist.traces.leases import Leases
from phantom_dist.traces.process import this_process

Row = dict[str, Any]
Observer = Callable[[Progress], None]


class Campaign:
    """One start of a run: what is stored, what is still to be done, and how far it is."""

    def __init__(
        self, planned: Plan, directory: RunDirectory, leases: Leases, budget: Budget, observer: Observer
    ) -> None:
        self._plan = planned
        self._directory = directory
        self._leases = leases
        self._budget = budget
        self._observer = observer
        self._started_at = time.time()
        self._started = self._last_state = time.monotonic()
        self._fresh = 0
        self._workers = 0
        self._lease_numbers = itertools.count(1)
        self._memory = PeakMemory()
        self._before = directory.read_state()
        self._problems = {problem.key: problem for problem in planned.problems}
        self._probed: dict[str, ProbeResult] = {}
        self._contents: dict[str, Problem] = {}
        self._settled: set[str] = set()  # searches that ask for nothing more
        self._rows: dict[str, list[Row]] = {key: [] for key in self._problems}
        self._outcomes: Counter[str] = Counter()
        self._shown: dict[str, SearchProgress] = {}  # of the problems that nothing new is known of
        self._searches: dict[str, Search] = {}
        self._cohorts = planned.cohorts
        self._cohorts_of: dict[str, list[Cohort]] = {key: [] for key in self._problems}
        for cohort in self._cohorts:
            for problem in cohort.problems:
                self._cohorts_of[problem.key].append(cohort)
        self._training: dict[Cohort, int] = dict.fromkeys(self._cohorts, 0)  # how many trials of each are out
        self._read_stored()

    def execute(self, make_executor: Callable[[Group | None], Executor]) -> None:
        """Run until nothing is left to do; the state file says `complete` only then.

        What single workers train comes first, then what groups of ranks do, one size after another.
        """
        first = {group: list(self._first_tasks(group)) for group in self._plan.phases}
        if not any(first.values()) and self._before.get("state") == "complete":
            self._directory.write_plan(self._plan_rows())
            return
        state, through = "interrupted", True
        try:
            self._write_state("running")
            for group, tasks in first.items():
                if tasks and through:
                    self._executor = make_executor(group)
                    try:
                        through = drive(self._executor, tasks, self._leases, self, self._lease_numbers)
                    finally:
                        self._executor.close()
            self._directory.write_plan(self._plan_rows())
            if through:
                state = "complete"
        finally:
            self._write_state(state)

    # -- what follows from what is known ------------------------------------------------------------------------------

    def _read_stored(self) -> None:
        for row in self._directory.trials().to_pylist():
            if row["problem"] in self._rows:
                self._take_in(row)
        for row in self._directory.probes().to_pylist():
            if row["problem"] in self._problems:
                self._know(probe_result_from_row(row, self._problems[row["problem"]]))

    def _first_tasks(self, group: Group | None) -> Iterator[Task]:
        mine = [p for p in self._plan.problems if self._plan.group_of(p) == group]
        unknown = (p for p in mine if p.key not in self._probed)
        yield from pack_probes(
            unknown, self._plan.parameters, self._plan.starts_from_law, self._plan.probe_seconds
        )
        for cohort in self._cohorts:
            if self._plan.group_of(cohort.problems[0]) == group:
                yield from self._next_task(cohort)

    def _know(self, probed: ProbeResult) -> None:
        problem = probed.problem
        self._refuse_twin(probed)
        self._probed[problem.key] = probed
        self._shown.pop(problem.key, None)
        if isinstance(probed, Measured):
            steps = effective_steps(problem.steps, problem.schedule, problem.optimizer)
            self._searches[problem.key] = Search(
                gap_0=probed.gap_0,
                slope_0=steps * probed.kappa,
                learning_rates=self._plan.learning_rates,
                tolerance=self._plan.tolerance,
                expected=self._expected(probed),
                rows=self._rows[problem.key],
            )

    def _expected(self, measured: Measured) -> Expected | None:
        """Where the law sees η_c; the path's own answer where the law doesn't know this way of training."""
        if measured.path is None or self._plan.tolerance is None:
            return None
        predicted = self._law.predict(as_asked(probe_row(measured), measured.problem))
        if predicted.eta_c is None or predicted.interval is None:
            rate = measured.path.learning_rates[-1]
            return rate, rate, rate
        return predicted.interval[0], predicted.eta_c, predicted.interval[1]

    @functools.cached_property
    def _law(self) -> Law:
        return read_law()

    def _refuse_twin(self, probed: ProbeResult) -> None:
        """Two problems whose trials are the same by content would give every trial two rows."""
        content = content_address(probed, None)
        twin = self._contents.setdefault(content, probed.problem)
        if twin.key != probed.problem.key:
            raise InputError(
                f"{_name(twin)} and {_name(probed.problem)} are the same problem: equal weights, tokens and settings "
                f"under two names. Leave one of them out and choose a new --out."
            )

    def _next_task(self, cohort: Cohort) -> Iterator[Task]:
        """The batch that the cohort trains next: when all its problems are probed, and nothing of it is in training.

        So what shares a batch follows from the plan, whoever is faster.
        """
        if any(problem.key not in self._probed for problem in cohort.problems):
            return
        if self._training[cohort]:
            return
        asked: dict[str, tuple[float, ...]] = {}
        measured: dict[str, Measured] = {}
        for problem in cohort.problems:
            probed = self._probed[problem.key]
            if isinstance(probed, Refused):
                self._record_refusal(probed)
                continue
            measured[problem.key] = probed
            search = self._searches[problem.key]
            asked[problem.key] = search.next_learning_rates(together=cohort.together)
            if not asked[problem.key]:
                self._settled.add(problem.key)
                self._shown.pop(problem.key, None)
        trials = [
            Trial(measured=measured[key], learning_rate=r)
            for key, rate in ((problem.key, rate) for problem, rate in cohort.members)
            for r in asked.get(key, ())
            if rate is None or r == rate
        ]
        self._training[cohort] = len(trials)
        if trials:
            seconds = sum(self._plan.trial_seconds(t.problem, len(trials)) for t in trials)
            yield train_task(trials, seconds)

    # -- events -------------------------------------------------------------------------------------------------------

    def on_done(self, finished: Finished) -> Iterable[Task]:
        """Take in what was measured; what can be trained now."""
        for result in finished.probed:
            self._know(result)
        for result in finished.probed:
            yield from self._cohorts_after(result.problem.key)
        self._remember(finished.rows)
        if isinstance(finished.task, TrainTask):
            yield from self._trained(finished.task)

    def on_give_up(self, command: GiveUp) -> Iterable[Task]:
        """Store the outcome for all members; what can be trained now."""
        if isinstance(command.task, ProbeTask):
            for problem in command.task.problems:
                refused = Refused(problem=problem, outcome=command.outcome, message=command.message)
                store_probes(self._directory, command.task.id, [refused])
                self._know(refused)
                yield from self._cohorts_after(problem.key)
        else:
            given_up = [
                Untrained(
                    probed=trial.measured,
                    learning_rate=trial.learning_rate,
                    outcome=command.outcome,
                    message=command.message,
                )
                for trial in command.task.trials
            ]
            self._record(given_up, command.attempt)
            yield from self._trained(command.task)

    def on_start(self, command: Start) -> None:
        """Count the trials that are begun."""
        if isinstance(command.task, TrainTask):
            self._budget.begun += len(command.task.trials)

    def on_discard(self, task: Task) -> None:
        """Remove what may be stored of a task whose parts will be stored by others."""
        self._directory.discard_batch(task.id, task.model)

    def _cohorts_after(self, key: str) -> Iterator[Task]:
        """What can begin now that this problem is probed."""
        for cohort in self._cohorts_of[key]:
            yield from self._next_task(cohort)

    def _trained(self, task: TrainTask) -> Iterator[Task]:
        """What the cohort of a batch asks for next; a batch that was halved is over with its last part."""
        cohort = self._cohort_of(task.trials[0])
        self._training[cohort] -= len(task.trials)
        yield from self._next_task(cohort)

    def _cohort_of(self, trial: Trial) -> Cohort:
        """The cohort that asked for the trial: the one that has its learning rate, or that searches for its problem."""
        mine = self._cohorts_of[trial.problem.key]
        members = ((trial.problem, trial.learning_rate), (trial.problem, None))
        return next(cohort for cohort in mine if any(member in cohort.members for member in members))

    def _record_refusal(self, refused: Refused) -> None:
        """One row per given learning rate, or a single one for a search; what is stored already is left alone."""
        rates: tuple[float | None, ...] = self._plan.learning_rates or (None,)
        stored = {row["learning_rate"] for row in self._rows[refused.problem.key]}
        rows = [
            Untrained(probed=refused, learning_rate=rate, outcome=refused.outcome, message=refused.message)
            for rate in rates
            if rate not in stored
        ]
        if rows:
            self._record(rows, attempt=1)

    def _record(self, untrained: list[Untrained], attempt: int) -> None:
        batch = batch_id((u.probed.problem.key, u.learning_rate) for u in untrained)
        model = untrained[0].probed.problem.model
        self._remember(store_batch(self._directory, model, untrained, execution_metadata(batch, attempt)))

    def _remember(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self._take_in(row)
            self._fresh += 1

    def _take_in(self, row: Row) -> None:
        self._rows[row["problem"]].append(row)
        self._outcomes[row["outcome"]] += 1
        self._shown.pop(row["problem"], None)

    # -- where it stands ----------------------------------------------------------------------------------------------

    def progress(self) -> Progress:
        """A snapshot for the observer."""
        for key, problem in self._problems.items():
            # Every heartbeat asks, and a search that looks at its rows takes 0.2 ms.
            if key not in self._shown:
                self._shown[key] = self._search_progress(key, problem)
        searches = tuple(map(self._shown.__getitem__, self._problems))
        done, expected = sum(s.trials for s in searches), sum(s.expected for s in searches)
        elapsed = time.monotonic() - self._started
        rate = self._fresh / elapsed if elapsed else 0.0
        return Progress(
            name=self._plan.spec.name,
            elapsed=elapsed,
            left=(expected - done) / rate if rate else None,
            done=done,
            expected=expected,
            trials_per_second=rate,
            outcomes=dict(self._outcomes),
            searches=searches,
            workers=self._workers,
        )

    def _search_progress(self, key: str, problem: Problem) -> SearchProgress:
        rows = self._rows[key]
        search, refused = self._searches.get(key), isinstance(self._probed.get(key), Refused)
        all_given = self._plan.tolerance is None and len(rows) >= len(self._plan.learning_rates)
        finished = refused or all_given or key in self._settled
        found = search.bracket if search is not None else None
        fallback = len(self._plan.learning_rates) or EXPECTED_TRIALS
        expected = len(rows) if finished else (search.expected_trials if search else fallback)
        bracket = (found.low, found.high) if found else None
        return SearchProgress(
            name=_name(problem), trials=len(rows), expected=expected, bracket=bracket, finished=finished
        )

    def on_heartbeat(self) -> bool:
        """Write the state, about once a second; whether more may be begun.

        Raises:
            KeyboardInterrupt: `phantom-dist cancel` asked for the end.
        """
        self._workers = max(self._workers, len(self._executor.workers))
        if time.monotonic() - self._last_state >= HEARTBEAT_S:
            self._write_state("running")
            if self._directory.cancelled:
                raise KeyboardInterrupt
        return self._budget.spent is None

    def _write_state(self, state: str) -> None:
        """Store the heartbeat, then tell the observer."""
        self._last_state = time.monotonic()
        self._memory.sample()
        progress = self.progress()
        self._directory.write_state(
            {
                "state": state,
                **this_process(),
                "heartbeat_at": time.time(),
                "started_at": self._started_at,
                "seconds": self._before.get("seconds", 0.0) + self._last_state - self._started,
                "expected_trials": progress.expected,
                "workers": self._workers,
                "reason": self._budget.spent if state == "interrupted" else None,
                "packing": self._plan.packing,
                "peak_memory_bytes": max(self._memory.peak_bytes, self._before.get("peak_memory_bytes", 0)),
                "models": {name: metadata.title for name, metadata in self._plan.models.items()},
            }
        )
        self._observer(progress)

    def _plan_rows(self) -> list[Row]:
        """The plan as it turned out: what is stored in the place of what was planned, the rest as planned."""
        rows: list[Row] = []
        for planned in self._plan.rows():
            stored = self._rows[planned["problem"]]
            if self._plan.tolerance is None:
                stored = [row for row in stored if row["learning_rate"] == planned["learning_rate"]]
            # A trial's share of what was predicted for its whole search.
            share = 1 / max(1, round(planned["predicted_trial_steps"] / planned["steps"]))
            took_place = [
                planned
                | {name: row[name] for name in ("learning_rate", "batch", "wall_time", "process_bytes")}
                | {name: share * planned[name] for name in ("predicted_trial_steps", "predicted_seconds")}
                for row in stored
            ]
            rows += took_place or [planned]
        return rows


def _name(problem: Problem) -> str:
    return f"{problem.model} {problem.context.id} {problem.method} {problem.optimizer.name} T={problem.steps}"
