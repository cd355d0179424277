"""One start of a run: executes the decisions of `RunState`.

Workers store what they measure. The driver stores untrained trials, the heartbeat, and the plan after the run.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable
from contextlib import closing, nullcontext

from phantom_dist.campaign.budget import Budget
from phantom_dist.campaign.heartbeat import Heartbeat, Observer
from phantom_dist.campaign.run_state import (
    Command,
    GivenUp,
    Probed,
    RunState,
    StoreProbes,
    StoreUntrained,
    Trained,
)
from phantom_dist.campaign.trackers import Trackers
from phantom_dist.core.errors import Cancelled
from phantom_dist.planning.plan import Phase
from phantom_dist.planning.summary import plan_rows_as_run
from phantom_dist.records import execution_metadata, store_batch, store_probes
from phantom_dist.scheduling.driver import HEARTBEAT_S, drive
from phantom_dist.scheduling.executor import Executor, Finished
from phantom_dist.scheduling.messages import GiveUp, Start
from phantom_dist.scheduling.tasks import ProbeTask, Task, TrainTask
from phantom_dist.traces import RunDirectory
from phantom_dist.traces.leases import Leases


class RunDriver:
    """The owner of the tasks that the scheduler's loop runs (`scheduling.driver.Owner`).

    Args:
        state: the run's state, restored from the directory.
        directory: the run directory, under the driver's own lease.
        leases: leases for the workers.
        budget: limits of this start.
        observer: called with a `Progress` about once a second.
        trackers: into which stored trainings are mirrored.
    """

    def __init__(
        self,
        state: RunState,
        directory: RunDirectory,
        leases: Leases,
        budget: Budget,
        observer: Observer,
        trackers: Trackers | None = None,
    ) -> None:
        self._trackers = trackers
        self._state = state
        self._directory = directory
        self._leases = leases
        self._budget = budget
        self._heartbeat = Heartbeat(state, directory, observer)
        self._started_trials = 0

    def execute(self, make_executor: Callable[[Phase], Executor], *, largest_worker: float = 0.0) -> None:
        """Run the plan's phases, one after another, until nothing is left to do or the budget is spent.

        `state.json` becomes `complete` only if nothing is left to do.

        Args:
            make_executor: starts the workers of a phase.
            largest_worker: memory of the largest worker that is expected to join (bytes).

        Raises:
            InputError, StoreError: as a task raised it.
            Cancelled: `phantom-dist cancel` requested the end.
        """
        plan, beat = self._state.plan, self._heartbeat
        first = [(phase, self._execute(self._state.first(phase))) for phase in plan.phases]
        lease_numbers = itertools.count(1)  # shared by all phases, so that no number repeats
        nothing_to_do = beat.was_complete and not any(tasks for _, tasks in first)
        with nullcontext() if nothing_to_do else beat.beating():
            for phase, tasks in first:
                if tasks:
                    with closing(make_executor(phase)) as self._executor:
                        if not drive(
                            self._executor, tasks, self._leases, self, lease_numbers, largest_worker
                        ):
                            break  # the budget is spent
            else:
                beat.complete = True
            self._directory.write_plan(plan_rows_as_run(plan, self._state.trials))

    # -- called by the scheduler's loop -------------------------------------------------------------------------------

    def on_start(self, command: Start) -> None:
        """Count the started trials."""
        if isinstance(command.task, TrainTask):
            self._started_trials += len(command.task.trials)

    def on_done(self, finished: Finished) -> Iterable[Task]:
        """The tasks that follow from a task that is done and stored."""
        match finished.task:
            case ProbeTask():
                return self._execute(self._state.handle(Probed(finished.probed)))
            case TrainTask() as task:
                if self._trackers is not None:
                    self._trackers.add(task, finished.trials)
                return self._execute(self._state.handle(Trained(task, finished.trials)))

    def on_give_up(self, command: GiveUp) -> Iterable[Task]:
        """The tasks that follow from a task that was given up."""
        event = GivenUp(command.task, command.attempt, command.outcome, command.message)
        return self._execute(self._state.handle(event))

    def on_discard(self, task: Task) -> None:
        """Remove the files that a task may have stored, because other tasks will store its members."""
        self._directory.discard_batch(task.id, task.model)

    def on_heartbeat(self) -> bool:
        """Write the state about once a second; True if more tasks may start.

        Raises:
            Cancelled: `phantom-dist cancel` requested the end.
        """
        beat = self._heartbeat
        beat.workers = max(beat.workers, len(self._executor.workers))
        beat.spent = self._budget.spent(seconds=beat.elapsed, trials=self._started_trials)
        if time.monotonic() - beat.last >= HEARTBEAT_S:
            beat.write("running")
            if self._directory.cancelled:
                raise Cancelled("cancelled")
        return beat.spent is None

    # -- execution of the state's commands ----------------------------------------------------------------------------

    def _execute(self, commands: Iterable[Command]) -> list[Task]:
        """Execute the commands that store rows; return those that are tasks."""
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
