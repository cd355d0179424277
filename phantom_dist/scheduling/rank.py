"""One rank of a group: a worker that loads, probes and trains together with its peers. Rank 0 stores."""

from __future__ import annotations

import functools
import socket
from collections.abc import Sequence
from importlib.metadata import version

from phantom_dist.core.activity import Activity, activity
from phantom_dist.core.measurement import Trial, TrialResult
from phantom_dist.core.probe_result import ProbeResult
from phantom_dist.core.trial import ModelIdentity, Problem
from phantom_dist.engines.deepspeed_group import (
    DeepSpeedEngine,
    Ranks,
    ShardedModel,
    listen,
    load_sharded,
    way_of,
)
from phantom_dist.scheduling.executor import WorkerSettings
from phantom_dist.scheduling.worker import Worker


class Rank(Worker):
    """A process of a group; `join` comes before the first task, and every rank is given the same tasks."""

    def __init__(self, settings: WorkerSettings, rank: int) -> None:
        super().__init__(settings)
        assert settings.group is not None
        self._group, self._rank = settings.group, rank
        self._listening: socket.socket | None = None
        self._ranks: Ranks | None = None
        self._held: ShardedModel | None = None

    def listen(self, address: str) -> int:
        """Rank 0's part of a meeting: the port where the others find it."""
        self._listening = listen(address)
        return int(self._listening.getsockname()[1])

    def join(self, address: str, port: int) -> None:
        """Meet the other ranks.

        Raises:
            InputError: DeepSpeed is not installed here.
        """
        self._ranks = Ranks(
            rank=self._rank,
            count=self._group.ranks,
            address=address,
            port=port,
            device=self._device,
            timeout_s=self._group.timeout_s,
            listening=self._listening,
        )

    def pulse(self) -> None:
        """Answer: this process is alive. Called beside a task that runs."""

    @functools.cached_property
    def _sharded(self) -> DeepSpeedEngine:
        return DeepSpeedEngine(self._outside)

    @property
    def _stores(self) -> bool:
        return self._rank == 0

    def _identity(self, problem: Problem) -> ModelIdentity:
        return self._shards(problem).whole.identity

    def _results(self, trials: Sequence[Trial]) -> list[TrialResult]:
        return [
            result for trial in trials for result in self._sharded.run(self._shards(trial.problem), [trial])
        ]

    def _measure(self, problem: Problem, *, path: bool) -> ProbeResult:
        """Without its path, which takes the gradients whole; a search starts from κ."""
        return self._sharded.probe(self._shards(problem), problem)

    def _shards(self, problem: Problem) -> ShardedModel:
        """The model as the problem trains it: the one that is held, or loaded in its place."""
        assert self._ranks is not None
        if self._held is None or self._held.way != way_of(problem):
            if self._held is not None:
                self._held.zero.close()
            self._held = None
            with activity(Activity.LOADING, f"loading {problem.model}"):
                self._held = load_sharded(problem, self._group.stage, self._ranks, self._settings.permissions)
        return self._held

    @property
    def _more_packages(self) -> list[str]:
        return [*super()._more_packages, f"deepspeed {version('deepspeed')}"]
