"""One start of a run: what `RunState` decides is carried out and stored.

Workers store what they measure. The driver stores what is not trained, the heartbeat, and the plan as it turned out.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable

from phantom_dist.campaign.budget import Budget
from phantom_dist.campaign.peak_memory import PeakMemory
from phantom_dist.campaign.progress import Progress
from phantom_dist.campaign.run_state import (
    Command,
    GivenUp,
    Probed,
    RunState,
    StoreProbes,
    StoreUntrained,
    Trained,
)
from phantom_dist.core.errors import Cancelled
from phantom_dist.core.summaries import TrialSummary
from phantom_dist.planning.plan import Plan
from phantom_dist.planning.summary import plan_rows_as_run
from phantom_dist.records import execution_metadata, store_batch, store_probes
from phantom_dist.scheduling.driver import HEARTBEAT_S, drive
from phantom_dist.scheduling.executor import Executor, Finished, RankGroup
from phantom_dist.scheduling.ledger import GiveUp, Start
from phantom_dist.scheduling.tasks import ProbeTask, Task, TrainTask
from phantom_dist.traces import RunDirectory
from phantom_dist.traces.leases import Leases
from phantom_dist.traces.process import this_process

Observer = Callable[[Progress], None]


class RunDriver:
    """The owner of what the scheduler's loop drives (`scheduling.driver.Owner`).

    Args:
        state: what the run has measured; what is stored was restored to it.
        directory: where to store, under the driver's own lease.
        leases: for the workers.
        budget: of this start.
        observer: called with a `Progress` about once a second.
    """

    def __init__(
        self,
        state: RunState,
        directory: RunDirectory,
        leases: Leases,
        budget: Budget,
        observer: Observer,
    ) -> None:
        self._state = state
        self._directory = directory
        self._leases = leases
        self._budget = budget
        self._observer = observer
        self._started_at = time.time()
        self._started = self._last_heartbeat = time.monotonic()
        self._begun = 0  # trials
        self._workers = 0
        self._memory = PeakMemory()
        self._before = directory.read_state()

    @property
    def _plan(self) -> Plan:
        return self._state.plan

    def execute(
        self, make_executor: Callable[[RankGroup | None], Executor], *, largest_worker: float = 0.0
    ) -> None:
        """Run the plan's phases, one after another, until nothing is left to do.

        `state.json` says `complete` only then.

        Args:
            make_executor: starts the workers of a phase.
            largest_worker: memory of the largest worker that is expected to come (bytes).

        Raises:
            InputError, StoreError: as a task raised it.
            Cancelled: `phantom-dist cancel` asked for the end.
        """
        first = {phase: self._carry_out(self._state.first(phase)) for phase in self._plan.phases}
        if not any(first.values()) and self._before.get("state") == "complete":
            self._write_plan()
            return
        state = "interrupted"
        try:
            self._write_state("running")
            if self._run_phases(first, make_executor, largest_worker):
                state = "complete"
            self._write_plan()
        finally:
            self._write_state(state)

    def _run_phases(
        self,
        first: dict[RankGroup | None, list[Task]],
        make_executor: Callable[[RankGroup | None], Executor],
        largest_worker: float,
    ) -> bool:
        """Whether nothing is left; False where the budget is spent."""
        leases = itertools.count(1)  # phases share them, so that no lease comes again
        for phase, tasks in first.items():
            if not tasks:
                continue
            self._executor = make_executor(phase)
            try:
                if not drive(self._executor, tasks, self._leases, self, leases, largest_worker):
                    return False
            finally:
                self._executor.close()
        return True

    # -- what the scheduler's loop calls ------------------------------------------------------------------------------

    def on_start(self, command: Start) -> None:
        """Count the trials that are begun."""
        if isinstance(command.task, TrainTask):
            self._begun += len(command.task.trials)

    def on_done(self, finished: Finished) -> Iterable[Task]:
        """What follows from a task that is done and stored."""
        match finished.task:
            case ProbeTask():
                return self._carry_out(self._state.handle(Probed(finished.probed)))
            case TrainTask() as task:
                trials = tuple(map(TrialSummary.from_row, finished.rows))
                return self._carry_out(self._state.handle(Trained(task, trials)))

    def on_give_up(self, command: GiveUp) -> Iterable[Task]:
        """What follows from a task that is given up."""
        event = GivenUp(command.task, command.attempt, command.outcome, command.message)
        return self._carry_out(self._state.handle(event))

    def on_discard(self, task: Task) -> None:
        """Remove what may be stored of a task whose parts will be stored by others."""
        self._directory.discard_batch(task.id, task.model)

    def on_heartbeat(self) -> bool:
        """Write the state, about once a second; whether more may be begun.

        Raises:
            Cancelled: `phantom-dist cancel` asked for the end.
        """
        self._workers = max(self._workers, len(self._executor.workers))
        if time.monotonic() - self._last_heartbeat >= HEARTBEAT_S:
            self._write_state("running")
            if self._directory.cancelled:
                raise Cancelled("cancelled")
        return self._spent is None

    # -- what is carried out ------------------------------------------------------------------------------------------

    def _carry_out(self, commands: Iterable[Command]) -> list[Task]:
        """Store what has to be stored; the tasks that have to be run."""
        tasks: list[Task] = []
        for command in commands:
            match command:
                case StoreUntrained(trials, attempt):
                    metadata = execution_metadata(command.batch, attempt)
                    store_batch(self._directory, trials[0].probed.problem.model, trials, metadata)
                case StoreProbes(batch, results):
                    store_probes(self._directory, batch, results)
                case ProbeTask() | TrainTask():
                    tasks.append(command)
        return tasks

    @property
    def _spent(self) -> str | None:
        return self._budget.spent(seconds=time.monotonic() - self._started, trials=self._begun)

    def _write_state(self, state: str) -> None:
        """Store the heartbeat, then tell the observer."""
        self._last_heartbeat = time.monotonic()
        self._memory.sample()
        elapsed = self._last_heartbeat - self._started
        progress = self._state.progress(elapsed=elapsed, workers=self._workers)
        self._directory.write_state(
            {
                "state": state,
                **this_process(),
                "heartbeat_at": time.time(),
                "started_at": self._started_at,
                "seconds": self._before.get("seconds", 0.0) + elapsed,
                "expected_trials": progress.expected,
                "workers": self._workers,
                "reason": self._spent if state == "interrupted" else None,
                "resources": self._plan.resources.to_json(),
                "engine": self._plan.engine,
                "peak_memory_bytes": max(self._memory.peak_bytes, self._before.get("peak_memory_bytes", 0)),
                "models": {name: metadata.title for name, metadata in self._plan.models.items()},
            }
        )
        self._observer(progress)

    def _write_plan(self) -> None:
        self._directory.write_plan(plan_rows_as_run(self._plan, self._state.trials_of))
