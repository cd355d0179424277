"""The interface of executors: named workers that each hold at most one task."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from phantom_dist.core.plugins import Plugin
from phantom_dist.core.probe_result import ProbeResult
from phantom_dist.core.summaries import TrialSummary
from phantom_dist.models import Permissions
from phantom_dist.scheduling.ledger import Done, Failed, Joined, Lost, Start
from phantom_dist.scheduling.rank_group import RankGroup
from phantom_dist.scheduling.tasks import Task


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSettings:
    """How every worker of a run is set up.

    `threads`: CPU threads of its process; `device`: `auto`, `cpu` or `cuda`; `driver`: who gives the leases
    (`traces.leases`). With a `group` each worker is one, and the settings are those of each of its ranks.
    `instruments`: of other packages, by name; `plugins`: what of other packages a worker must have.
    """

    location: str
    driver: str
    engine: str = "auto"
    device: str = "auto"
    threads: int = 1
    permissions: Permissions = Permissions()
    group: RankGroup | None = None
    instruments: tuple[str, ...] = ()
    plugins: tuple[Plugin, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskOutput:
    """What a worker sends back: what was probed, or how the trials of a batch ended, and where its time went.

    `activities`: seconds by `core.activity.Activity`.
    """

    probed: tuple[ProbeResult, ...] = ()
    trials: tuple[TrialSummary, ...] = ()
    activities: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of a task: the event for the ledger, and what the worker sent back (if it is done)."""

    event: Done | Failed | Lost
    task: Task
    output: TaskOutput = TaskOutput()

    @property
    def probed(self) -> tuple[ProbeResult, ...]:
        """What was probed."""
        return self.output.probed

    @property
    def trials(self) -> tuple[TrialSummary, ...]:
        """How the trials of a batch ended."""
        return self.output.trials


class Executor(ABC):
    """Runs tasks on workers, which it announces as they become ready.

    `core.errors.InputError` from a task is raised at `wait`: it is the whole run's.
    """

    @property
    @abstractmethod
    def workers(self) -> tuple[str, ...]:
        """Names of the workers that are there now."""

    @abstractmethod
    def start(self, command: Start) -> None:
        """Hand a task to an idle worker; returns at once."""

    @abstractmethod
    def wait(self, timeout: float) -> Finished | Joined | None:
        """The next task that ended or worker that is ready, or None after `timeout` seconds (s).

        Raises:
            InputError, StoreError: as the task raised it.
        """

    @abstractmethod
    def replace(self, worker: str) -> None:
        """Give a worker a new process, which is announced when it is ready.

        One that still runs is ended, and its task never reported.
        """

    def now(self) -> float:
        """The time (s) since some moment."""
        return time.monotonic()

    @abstractmethod
    def close(self) -> None:
        """End all workers; what they hold is lost and nothing of it is visible."""
