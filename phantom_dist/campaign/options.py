"""The options that `run`, `resume` and `submit` share. None of them changes a result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from phantom_dist.campaign.budget import Budget
from phantom_dist.core.errors import InputError, did_you_mean
from phantom_dist.engines import DEEPSPEED, ENGINES

EXECUTORS = ("ray", "inprocess")


class JobOptions(TypedDict, total=False):
    """The keyword arguments that `run`, `resume` and `submit` share; see `RunOptions`."""

    engine: str | None
    workers: int | None
    retry: str | None
    max_hours: float | None
    max_trials: int | None


class Options(JobOptions, total=False):
    """The keyword arguments of `run` and `resume`."""

    address: str | None
    executor: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RunOptions:
    """Where a run executes, on which engine, and its limits.

    Attributes:
        address: Ray cluster: `local` starts one here, `auto` or `ray://…` joins one; None joins the one that
            RAY_ADDRESS names, else starts one.
        executor: `ray`, or `inprocess` for this process only.
        engine: `auto` or an engine's name; None: that of the run in the directory, else `auto`.
        workers: number of workers; None for as many as the cluster can hold.
        retry: `failed` repeats the trials that ended in `error` or `out_of_memory`; None leaves them.
        max_hours: start nothing more after so many hours (h); running batches still finish.
        max_trials: start no further batch once so many trials have started.

    Raises:
        InputError: an unknown choice, or a limit that is not positive.
    """

    address: str | None = None
    executor: str = "ray"
    engine: str | None = None
    workers: int | None = None
    retry: str | None = None
    max_hours: float | None = None
    max_trials: int | None = None

    def __post_init__(self) -> None:
        one_of("executor", self.executor, EXECUTORS)
        one_of("retry", self.retry, (None, "failed"))
        if self.engine is not None:
            one_of("engine", self.engine, (*ENGINES, DEEPSPEED))
        _ = self.budget
        if self.engine == "deepspeed" and self.executor == "inprocess":
            raise InputError("engine deepspeed needs several processes: executor ray.")

    @property
    def budget(self) -> Budget:
        """The limits of one start."""
        return Budget(hours=self.max_hours, trials=self.max_trials)

    def command_line(self) -> list[str]:
        """The same options for `phantom-dist run`, except `--address` and `--executor`."""
        values = {
            "--engine": self.engine,
            "--workers": self.workers,
            "--retry": self.retry,
            "--max-hours": self.max_hours,
            "--max-trials": self.max_trials,
        }
        return [word for name, value in values.items() if value is not None for word in (name, str(value))]


def one_of(option: str, value: str | None, allowed: Sequence[str | None]) -> None:
    """Check a choice.

    Raises:
        InputError: it is not allowed; the message names the allowed ones.
    """
    if value not in allowed:
        names = [name for name in allowed if name is not None]
        raise InputError(f"{option} {value}: there is no such choice.{did_you_mean(str(value), names)}")
