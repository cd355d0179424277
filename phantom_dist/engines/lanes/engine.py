"""The engine `lanes`: trains trials of one training configuration as lanes of a batch, the rest by the reference."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence

from phantom_dist.core.measurement import Trial, TrialResult, by_training
from phantom_dist.data import Batches
from phantom_dist.engines.lanes.choice import fusion_pays, kind_of
from phantom_dist.engines.lanes.isolation import DiffersFromProbe, check, length_groups
from phantom_dist.engines.lanes.kind import NotFusable
from phantom_dist.engines.lanes.set_training import train_on_set
from phantom_dist.engines.lanes.training import train
from phantom_dist.engines.memory import out_of_memory_named
from phantom_dist.engines.single import SingleEngine
from phantom_dist.engines.trainable import readout_matrix
from phantom_dist.engines.training_sets import TrainingSets
from phantom_dist.engines.watch import Watch
from phantom_dist.instruments.plugin_instruments import Named
from phantom_dist.instruments.word_prompts import WordPrompts
from phantom_dist.models import LoadedModel


class LanesEngine:
    """The engine `lanes`."""

    name = "lanes"

    def __init__(
        self, plugin_instruments: Sequence[Named] = (), training_sets: TrainingSets | None = None
    ) -> None:
        self._plugin_instruments = plugin_instruments
        self._training_sets = training_sets or TrainingSets()

    def run(self, loaded: LoadedModel, trials: Sequence[Trial]) -> Iterator[TrialResult]:
        """Train the trials of each training configuration together; see `engine.Engine.run`."""
        by_config: dict[object, list[Trial]] = {}
        for trial in trials:
            if trial.problem.training is None and trial.measured.tokens.pair_kind == "several":
                for result in SingleEngine(self._plugin_instruments).run(loaded, [trial]):
                    yield dataclasses.replace(result, note="lanes train single tokens")
                continue
            by_config.setdefault(trial.problem.training_config, []).append(trial)
        for members in by_config.values():
            batches = self._training_sets.batches(loaded, members[0].problem)
            if batches is not None:
                yield from self._run_set(loaded, members, batches)
                continue
            groups = length_groups(loaded, map(_prompt, members))
            for part in _partition(members, groups.__getitem__):
                yield from _run(loaded, part, self._plugin_instruments)

    def _run_set(self, loaded: LoadedModel, trials: list[Trial], batches: Batches) -> Iterator[TrialResult]:
        """Train on the same batches as lanes where that is possible and faster, else by the reference."""
        watches = [Watch(watched) for watched in by_training(trials)]
        problem, note = trials[0].problem, None
        if fusion_pays(problem, loaded.identity.parameters, len(watches)):
            start = time.perf_counter()
            try:
                with out_of_memory_named():
                    prompts = WordPrompts(watches[0].tokens).prompts
                    if len(set(length_groups(loaded, prompts).values())) > 1:
                        raise NotFusable("prompts of different lengths leave different state in the model")
                    check(loaded, problem, lanes=min(2, len(watches)))
                    train_on_set(loaded, watches, batches, self._plugin_instruments)
            except NotFusable as reason:
                note = str(reason)
            else:
                share = (time.perf_counter() - start) / len(watches)
                rows = readout_matrix(loaded.model).shape[0]
                for watch in watches:
                    yield from watch.results(rows, share, f"{kind_of(problem)} lanes")
                return
        for result in SingleEngine(self._plugin_instruments, self._training_sets).run(loaded, trials):
            yield dataclasses.replace(result, note=note)


def _prompt(trial: Trial) -> tuple[int, ...]:
    return trial.measured.tokens.prompt


def _partition(trials: list[Trial], group_of: Callable[[int], object]) -> list[list[Trial]]:
    """The trials by the group of their prompt's length, in the order of each group's first trial."""
    parts: dict[object, list[Trial]] = {}
    for trial in trials:
        parts.setdefault(group_of(len(_prompt(trial))), []).append(trial)
    return list(parts.values())


def _run(
    loaded: LoadedModel, trials: list[Trial], plugin_instruments: Sequence[Named]
) -> Iterator[TrialResult]:
    """Train as lanes where that is faster; by prompt length where padding changes results; else by the reference."""
    if not fusion_pays(trials[0].problem, loaded.identity.parameters, len(trials)):
        yield from SingleEngine(plugin_instruments).run(loaded, trials)
        return
    start = time.perf_counter()
    try:
        with out_of_memory_named():
            check(loaded, trials[0].problem, lanes=min(2, len(trials)))
            lanes = train(loaded, trials, plugin_instruments=plugin_instruments)
    except NotFusable as reason:
        parts = _partition(trials, lambda length: length)
        if isinstance(reason, DiffersFromProbe) and len(parts) > 1:
            for part in parts:
                yield from _run(loaded, part, plugin_instruments)
            return
        for result in SingleEngine(plugin_instruments).run(loaded, trials):
            yield dataclasses.replace(result, note=str(reason))
        return
    share = (time.perf_counter() - start) / len(lanes)
    for lane in lanes:
        yield TrialResult(
            trial=lane.trial,
            trace=tuple(lane.trace),
            vocabulary_size=readout_matrix(loaded.model).shape[0],
            wall_time=share,
            engine=f"{kind_of(lane.trial.problem)} lanes",
            stopped_early=lane.stopped_early,
        )
