"""One rank of a group: a worker that loads, probes and trains together with the other ranks. Rank 0 stores."""

from __future__ import annotations

import functools
import socket
from collections.abc import Sequence
from importlib.metadata import version

from phantom_dist.core.activity import Activity, activity
from phantom_dist.core.measurement import Trial, TrialResult, by_training
from phantom_dist.core.probe_result import ProbeResult
from phantom_dist.core.trial import ModelIdentity, Problem
from phantom_dist.engines.deepspeed_group import (
    DeepSpeedEngine,
    Ranks,
    ShardedModel,
    listen,
    load_config_of,
    load_sharded,
)
from phantom_dist.scheduling.executor import WorkerSettings
from phantom_dist.scheduling.worker import Worker


class Rank(Worker):
    """A process of a group. `join` must be called before the first task; every rank gets the same tasks."""

    def __init__(self, settings: WorkerSettings, rank: int) -> None:
        super().__init__(settings)
        assert settings.group is not None
        self._group, self._rank = settings.group, rank
        self._listening: socket.socket | None = None
        self._ranks: Ranks | None = None
        self._loaded: ShardedModel | None = None

    def listen(self, address: str) -> int:
        """Open a port for the other ranks, and return it. Called on rank 0 only."""
        self._listening = listen(address)
        return int(self._listening.getsockname()[1])

    def join(self, address: str, port: int) -> None:
        """Connect with the other ranks.

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
        """Return at once, which shows that this process is alive. Called while a task runs."""

    @functools.cached_property
    def _sharded(self) -> DeepSpeedEngine:
        return DeepSpeedEngine(self._plugin_instruments, self._training_sets)

    @property
    def _stores(self) -> bool:
        return self._rank == 0

    def _identity(self, problem: Problem) -> ModelIdentity:
        return self._shards(problem).whole.identity

    def _results(self, trials: Sequence[Trial]) -> list[TrialResult]:
        return [
            result
            for watched in by_training(trials)
            for result in self._sharded.run(self._shards(watched[0].problem), watched)
        ]

    def _measure(self, problem: Problem, *, path: bool) -> ProbeResult:
        """Measure κ only: a path probe needs whole gradients. The search then starts at first order."""
        return self._sharded.probe(self._shards(problem), problem)

    def _shards(self, problem: Problem) -> ShardedModel:
        """The model for this problem: the loaded one if it fits, else a new one in its place."""
        assert self._ranks is not None
        if self._loaded is None or self._loaded.load_config != load_config_of(problem):
            if self._loaded is not None:
                self._loaded.zero.close()
            self._loaded = None
            with activity(Activity.LOADING, f"loading {problem.model}"):
                self._loaded = load_sharded(
                    problem, self._group.stage, self._ranks, self._settings.permissions
                )
        return self._loaded

    @property
    def _more_packages(self) -> list[str]:
        return [*super()._more_packages, f"deepspeed {version('deepspeed')}"]
