"""The engine `lanes`: trials that are trained in the same way, as lanes of one batch; the rest by the reference."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence

from phantom_dist.core.measurement import Trial, TrialResult
from phantom_dist.engines.lanes.alone import Unlike, check, lengths_apart
from phantom_dist.engines.lanes.choice import fusion_pays, kind_of
from phantom_dist.engines.lanes.kind import NotFusable
from phantom_dist.engines.lanes.training import train
from phantom_dist.engines.memory import out_of_memory_named
from phantom_dist.engines.single import SingleEngine
from phantom_dist.engines.trainable import readout_matrix
from phantom_dist.instruments.plugin_instruments import Named
from phantom_dist.models import LoadedModel


class LanesEngine:
    """The engine `lanes`."""

    name = "lanes"

    def __init__(self, outside: Sequence[Named] = ()) -> None:
        self._outside = outside

    def run(self, loaded: LoadedModel, trials: Sequence[Trial]) -> Iterator[TrialResult]:
        """Train the trials together as far as they are trained in the same way; see `engine.Engine.run`."""
        together: dict[object, list[Trial]] = {}
        for trial in trials:
            together.setdefault(trial.problem.training_config, []).append(trial)
        for members in together.values():
            sorts = lengths_apart(loaded, map(_prompt, members))
            for part in _parted(members, sorts.__getitem__):
                yield from _run(loaded, part, self._outside)


def _prompt(trial: Trial) -> tuple[int, ...]:
    return trial.measured.tokens.prompt


def _parted(trials: list[Trial], sort: Callable[[int], object]) -> list[list[Trial]]:
    """Trials by what their prompt's length is sorted into, in the order of their first."""
    parts: dict[object, list[Trial]] = {}
    for trial in trials:
        parts.setdefault(sort(len(_prompt(trial))), []).append(trial)
    return list(parts.values())


def _run(loaded: LoadedModel, trials: list[Trial], outside: Sequence[Named]) -> Iterator[TrialResult]:
    """Lanes where they pay; of prompts of equal length where others aren't read as alone; else the reference."""
    if not fusion_pays(trials[0].problem, loaded.identity.parameters, len(trials)):
        yield from SingleEngine(outside).run(loaded, trials)
        return
    start = time.perf_counter()
    try:
        with out_of_memory_named():
            check(loaded, trials[0].problem, lanes=min(2, len(trials)))
            lanes = train(loaded, trials, outside=outside)
    except NotFusable as reason:
        parts = _parted(trials, lambda length: length)
        if isinstance(reason, Unlike) and len(parts) > 1:
            for part in parts:
                yield from _run(loaded, part, outside)
            return
        for result in SingleEngine(outside).run(loaded, trials):
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
