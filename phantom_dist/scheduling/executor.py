"""The interface of executors: named workers that each run at most one task."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from phantom_dist.core.plugins import Plugin
from phantom_dist.core.probe_result import ProbeResult
from phantom_dist.core.summaries import TrialSummary
from phantom_dist.models import Permissions
from phantom_dist.scheduling.messages import Done, Failed, Joined, Lost, Start
from phantom_dist.scheduling.rank_group import RankGroup
from phantom_dist.scheduling.tasks import Task


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerSettings:
    """Settings of every worker of a run; where each worker is a group of ranks, settings of every rank.

    Attributes:
        location: the run directory.
        driver: the driver that grants the leases (`traces.leases`).
        engine: `auto` or an engine's name.
        device: `auto`, `cpu` or `cuda`.
        threads: CPU threads of the process.
        permissions: which unsafe ways to load a model are allowed.
        group: the group of ranks that each worker is; None for workers of one process.
        instruments: names of plug-in instruments.
        plugins: the plug-ins that must be installed where the worker runs.
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
    """What a worker returns: probe results or trial summaries, and seconds by `core.activity.Activity`."""

    probed: tuple[ProbeResult, ...] = ()
    trials: tuple[TrialSummary, ...] = ()
    activities: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finished:
    """A task that ended: the event for the ledger, and the worker's output if the task is done."""

    event: Done | Failed | Lost
    task: Task
    output: TaskOutput = TaskOutput()

    @property
    def probed(self) -> tuple[ProbeResult, ...]:
        """The probe results."""
        return self.output.probed

    @property
    def trials(self) -> tuple[TrialSummary, ...]:
        """The trials' summaries."""
        return self.output.trials


class Executor(ABC):
    """Runs tasks on workers, and announces each worker when it is ready.

    `wait` raises a task's `core.errors.InputError`, because that concerns the whole run.
    """

    @property
    @abstractmethod
    def workers(self) -> tuple[str, ...]:
        """Names of the workers that are ready or busy now."""

    @abstractmethod
    def start(self, command: Start) -> None:
        """Give a task to an idle worker; returns at once."""

    @abstractmethod
    def wait(self, timeout: float) -> Finished | Joined | None:
        """The next task that ended or worker that became ready; None after `timeout` seconds.

        Raises:
            InputError, StoreError: as the task raised it.
        """

    @abstractmethod
    def replace(self, worker: str) -> None:
        """Give a worker a new process, which is announced when it is ready.

        A process that still runs is ended, and its task is never reported.
        """

    def now(self) -> float:
        """A monotonic clock (s); its origin is arbitrary."""
        return time.monotonic()

    @abstractmethod
    def close(self) -> None:
        """End all workers. Their running tasks are lost, and nothing of these becomes visible."""
