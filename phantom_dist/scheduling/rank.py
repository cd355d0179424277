"""One rank of a group: a worker that loads, probes and trains together with the other ranks. Rank 0 stores."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version

from phantom_dist.core.activity import Activity, activity
from phantom_dist.core.measurement import Trial, TrialResult, by_training
from phantom_dist.core.probe_result import ProbeResult
from phantom_dist.core.trial import ModelIdentity, Problem
from phantom_dist.engines.deepspeed_group import (
    DeepSpeedEngine,
    GroupLanesEngine,
    Ranks,
    ShardedBase,
    ShardedModel,
    listen,
    load_config_of,
    load_sharded,
    load_sharded_base,
)
from phantom_dist.engines.lanes.kind import NotFusable
from phantom_dist.engines.lanes.support import leaves_weights
from phantom_dist.engines.training_sets import forget_gradients
from phantom_dist.models.load import LoadedModel
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
        self._loaded: ShardedModel | ShardedBase | None = None
        self._loaded_key: object = None
        self._unshardable: set[tuple[str, str]] = set()

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

    @property
    def _stores(self) -> bool:
        return self._rank == 0

    def _identity(self, problem: Problem) -> ModelIdentity:
        return self._model(problem).identity

    def _results(self, trials: Sequence[Trial]) -> list[TrialResult]:
        if self._shares_base(trials[0].problem):
            assert self._ranks is not None
            with suppress(NotFusable):
                base = self._base(trials[0].problem)
                forget_gradients(base.loaded)
                engine = GroupLanesEngine(base, self._plugin_instruments, self._training_sets)
                # A rank with few lanes left waits for one with many; one that is stuck doesn't answer `pulse`.
                with self._ranks.patient():
                    return list(engine.run(base.loaded, trials))
        engine_of_one = DeepSpeedEngine(self._plugin_instruments, self._training_sets)
        return [
            result
            for watched in by_training(trials)
            for result in engine_of_one.run(self._shards(watched[0].problem), watched)
        ]

    def _measure(self, problem: Problem, *, path: bool) -> ProbeResult:
        """On a sharded base as a single worker. Else κ only: a path probe needs whole gradients."""
        if self._shares_base(problem):
            with suppress(NotFusable):
                return super()._measure(problem, path=path)
        engine = DeepSpeedEngine(self._plugin_instruments, self._training_sets)
        return engine.probe(self._shards(problem), problem)

    def _shares_base(self, problem: Problem) -> bool:
        """Whether each rank trains this problem's trials as lanes of its own, on one sharded model."""
        return self._group.lanes and leaves_weights(problem) and _base_key(problem) not in self._unshardable

    def _model(self, problem: Problem) -> LoadedModel:
        """The model in shards, as a problem is trained: each rank its own trials, or all ranks one."""
        if self._shares_base(problem):
            with suppress(NotFusable):
                return self._base(problem).loaded
        return self._shards(problem).whole

    def _base(self, problem: Problem) -> ShardedBase:
        """The sharded base for this problem: the loaded one if it fits, else a new one in its place.

        Raises:
            NotFusable: this model can't be one.
        """
        assert self._ranks is not None
        key = _base_key(problem)
        if not isinstance(self._loaded, ShardedBase) or self._loaded_key != key:
            self._drop()
            with activity(Activity.LOADING, f"loading {problem.model}"):
                try:
                    self._loaded = load_sharded_base(problem, self._ranks, self._settings.permissions)
                except NotFusable:
                    self._unshardable.add(key)
                    raise
            self._loaded_key = key
        return self._loaded

    def _shards(self, problem: Problem) -> ShardedModel:
        """The model under ZeRO for this problem: the loaded one if it fits, else a new one in its place."""
        assert self._ranks is not None
        key = load_config_of(problem)
        if not isinstance(self._loaded, ShardedModel) or self._loaded_key != key:
            self._drop()
            with activity(Activity.LOADING, f"loading {problem.model}"):
                self._loaded = load_sharded(
                    problem, self._group.stage, self._ranks, self._settings.permissions
                )
            self._loaded_key = key
        return self._loaded

    def _drop(self) -> None:
        if isinstance(self._loaded, ShardedModel):
            self._loaded.zero.close()
        self._loaded = None

    @property
    def _more_packages(self) -> list[str]:
        return [*super()._more_packages, f"deepspeed {version('deepspeed')}"]


def _base_key(problem: Problem) -> tuple[str, str]:
    return problem.model, problem.weights_precision
