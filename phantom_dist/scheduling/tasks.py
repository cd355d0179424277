"""The two kinds of tasks for workers.

`seconds`: the predicted time; 0 if it isn't known. `memory_bytes`: only workers with at least so much memory take the
task, as long as there are any; 0 for all workers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from phantom_dist.core.measurement import Trial
from phantom_dist.core.trial import Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeTask:
    """Probe problems of one model; with `paths`, probe their paths as well."""

    id: str
    model: str
    problems: tuple[Problem, ...]
    paths: bool
    seconds: float = 0.0
    memory_bytes: float = 0.0

    @property
    def size(self) -> int:
        """Number of problems."""
        return len(self.problems)

    def halves(self) -> tuple[ProbeTask, ProbeTask]:
        """The same work as two tasks."""
        middle = len(self.problems) // 2
        first, second = self.problems[:middle], self.problems[middle:]
        seconds, memory = self.seconds / 2, self.memory_bytes
        return (
            probe_task(first, paths=self.paths, seconds=seconds, memory_bytes=memory),
            probe_task(second, paths=self.paths, seconds=seconds, memory_bytes=memory),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainTask:
    """Train a batch of trials of one model; stored whole or not at all."""

    id: str
    model: str
    trials: tuple[Trial, ...]
    seconds: float = 0.0
    memory_bytes: float = 0.0

    @property
    def size(self) -> int:
        """Number of trials."""
        return len(self.trials)

    def halves(self) -> tuple[TrainTask, TrainTask]:
        """The same trials as two batches."""
        middle, seconds, memory = len(self.trials) // 2, self.seconds / 2, self.memory_bytes
        return (
            train_task(self.trials[:middle], seconds, memory),
            train_task(self.trials[middle:], seconds, memory),
        )


Task = ProbeTask | TrainTask


def batch_id(members: Iterable[tuple[str, float | None]]) -> str:
    """A batch's name: 16 hex digits of a hash of its problems' keys and learning rates, in any order.

    The same trials always give the same name, so a repeated batch replaces its files instead of duplicating rows.
    """
    names = sorted(f"{key} {'' if rate is None else float(rate).hex()}" for key, rate in members)
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


def probe_task(
    problems: Iterable[Problem], *, paths: bool = False, seconds: float = 0.0, memory_bytes: float = 0.0
) -> ProbeTask:
    """A probe task for problems of one model."""
    problems = tuple(problems)
    name = batch_id((p.key, None) for p in problems)
    return ProbeTask(
        id=name,
        model=problems[0].model,
        problems=problems,
        paths=paths,
        seconds=seconds,
        memory_bytes=memory_bytes,
    )


def train_task(trials: Iterable[Trial], seconds: float = 0.0, memory_bytes: float = 0.0) -> TrainTask:
    """A train task for trials of one model."""
    trials = tuple(trials)
    name = batch_id((t.problem.key, t.learning_rate) for t in trials)
    return TrainTask(
        id=name,
        model=trials[0].problem.model,
        trials=trials,
        seconds=seconds,
        memory_bytes=memory_bytes,
    )
