"""The engine `lanes`: trains trials of one training configuration in the way that costs least (`cost`).

That is as lanes of a kind, or one after another on the reference engine. Lanes that don't fit the memory that is free
now are trained in parts.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from phantom_dist.core.measurement import Trial, TrialResult, by_training
from phantom_dist.core.trial import Problem
from phantom_dist.data import Batches
from phantom_dist.engines.lanes.cost import WAYS, Chooser, Way, cheapest_cut, step_cost
from phantom_dist.engines.lanes.footprint import lane_bytes
from phantom_dist.engines.lanes.isolation import DiffersFromProbe, check, length_groups
from phantom_dist.engines.lanes.kind import NotFusable
from phantom_dist.engines.lanes.lockstep import Lockstep
from phantom_dist.engines.lanes.set_training import train_on_set
from phantom_dist.engines.lanes.support import LaneKind, unsupported
from phantom_dist.engines.lanes.training import ALONE, Lane, train
from phantom_dist.engines.memory import free_bytes, out_of_memory_named
from phantom_dist.engines.single import SingleEngine
from phantom_dist.engines.trainable import readout_matrix
from phantom_dist.engines.training_sets import TrainingSets
from phantom_dist.engines.watch import Watch
from phantom_dist.instruments.plugin_instruments import Named
from phantom_dist.instruments.word_prompts import WordPrompts
from phantom_dist.models.load import LoadedModel

T = TypeVar("T")


class LanesEngine:
    """The engine `lanes`.

    Args:
        plugin_instruments, training_sets: as in the reference engine.
        ways: how it may train; the one that costs least is taken, and the reference where none can.
        lockstep: the processes that share the model's shards, of which each trains a part of a batch's lanes.
    """

    name = "lanes"

    def __init__(
        self,
        plugin_instruments: Sequence[Named] = (),
        training_sets: TrainingSets | None = None,
        ways: Sequence[Way] = WAYS,
        lockstep: Lockstep = ALONE,
    ) -> None:
        self._plugin_instruments = plugin_instruments
        self._training_sets = training_sets or TrainingSets()
        self._ways = ways
        self._lockstep = lockstep

    def run(self, loaded: LoadedModel, trials: Sequence[Trial]) -> Iterator[TrialResult]:
        """Train the trials that can be lanes of one batch together; see `engine.Engine.run`."""
        by_config: dict[object, list[Trial]] = {}
        for trial in trials:
            if trial.problem.training is None and trial.measured.tokens.pair_kind == "several":
                yield from self._by_reference(loaded, [trial], "lanes train single tokens")
                continue
            by_config.setdefault(self._config(trial), []).append(trial)
        for members in by_config.values():
            batches = self._training_sets.batches(loaded, members[0].problem)
            if batches is not None:
                yield from self._run_set(loaded, members, batches)
                continue
            groups = length_groups(loaded, map(_prompt, members))
            for part in _partition(members, groups.__getitem__):
                for batch in self._by_length(loaded, part):
                    yield from self._run(loaded, batch)

    def _config(self, trial: Trial) -> object:
        """Equal for trials that can be lanes of one batch."""
        return trial.problem.lanes_config

    def _by_length(self, loaded: LoadedModel, trials: list[Trial]) -> list[list[Trial]]:
        """The trials in batches of similar lengths, where that costs less than padding all to the longest."""
        problem = trials[0].problem
        if (
            loaded.model.device.type == "cuda"
        ):  # there a batch waits for its kernels' launches, not for its tokens
            return [trials]

        def cost(tokens: int, lanes: int) -> float:
            way = self._way(loaded, problem, tokens, lanes)
            return lanes * step_cost(way, problem, loaded.size, tokens, lanes).seconds

        by_length = sorted(trials, key=lambda trial: len(_prompt(trial)))
        sizes = cheapest_cut([len(_prompt(trial)) for trial in by_length], cost)
        if len(sizes) == 1:
            return [trials]
        ends = list(itertools.accumulate(sizes))
        return [by_length[end - size : end] for size, end in zip(sizes, ends, strict=True)]

    def _way(self, loaded: LoadedModel, problem: Problem, tokens: int, lanes: int) -> Way:
        chooser = Chooser(ways=self._ways, on_gpu=loaded.model.device.type == "cuda")
        return chooser.cheapest(problem, loaded.size, tokens, lanes)

    def _engine_name(self, way: Way) -> str:
        ranks = self._lockstep.ranks
        return f"{way} lanes" if ranks == 1 else f"{way} lanes, {ranks} ranks"

    def _by_reference(
        self, loaded: LoadedModel, trials: list[Trial], note: str | None
    ) -> Iterator[TrialResult]:
        for result in SingleEngine(self._plugin_instruments, self._training_sets).run(loaded, trials):
            yield dataclasses.replace(result, note=note)

    def _run(self, loaded: LoadedModel, trials: list[Trial]) -> Iterator[TrialResult]:
        """Train as lanes where that is faster, by prompt length where padding matters; else by the reference."""
        problem, tokens = trials[0].problem, max(len(_prompt(trial)) for trial in trials)
        start = time.perf_counter()
        way = self._way(loaded, problem, tokens, len(trials))
        if way == "reference":
            yield from self._by_reference(loaded, trials, unsupported(problem))
            return
        lanes: list[Lane] = []
        try:
            with out_of_memory_named():
                problems = [trial.problem for trial in trials]
                for part in _checked_parts(loaded, problems, way, tokens, trials, self._lockstep):
                    own = self._lockstep.share(part)
                    trained = train(loaded, own or part[:1], way, self._plugin_instruments, self._lockstep)
                    lanes += self._lockstep.all_shares(trained if own else ())
        except NotFusable as reason:
            parts = _partition(trials, lambda length: length)
            if isinstance(reason, DiffersFromProbe) and len(parts) > 1:
                for part in parts:
                    yield from self._run(loaded, part)
                return
            yield from self._by_reference(loaded, trials, str(reason))
            return
        share = (time.perf_counter() - start) / len(lanes)
        for lane in lanes:
            yield TrialResult(
                trial=lane.trial,
                trace=tuple(lane.trace),
                vocabulary_size=readout_matrix(loaded.model).shape[0],
                wall_time=share,
                engine=self._engine_name(way),
                stopped_early=lane.stopped_early,
            )

    def _run_set(self, loaded: LoadedModel, trials: list[Trial], batches: Batches) -> Iterator[TrialResult]:
        """Train on the same batches as lanes where that is possible and faster, else by the reference."""
        watches = [Watch(watched) for watched in by_training(trials)]
        problem, note = trials[0].problem, unsupported(trials[0].problem)
        tokens = sum(len(sequence.ids) for sequence in batches[0].sequences)
        way = self._way(loaded, problem, tokens, len(watches))
        if way != "reference":
            start = time.perf_counter()
            try:
                with out_of_memory_named():
                    prompts = WordPrompts(watches[0].tokens).prompts
                    if len(set(length_groups(loaded, prompts).values())) > 1:
                        raise NotFusable("prompts of different lengths leave different state in the model")
                    problems = [watch.problem for watch in watches]
                    trained: list[Watch] = []
                    for part in _checked_parts(loaded, problems, way, tokens, watches, self._lockstep):
                        own = self._lockstep.share(part)
                        mine = own or [Watch(part[0].trials)]
                        train_on_set(loaded, mine, batches, way, self._plugin_instruments, self._lockstep)
                        trained += self._lockstep.all_shares(own)
            except NotFusable as reason:
                note = str(reason)
            else:
                share = (time.perf_counter() - start) / len(watches)
                rows = readout_matrix(loaded.model).shape[0]
                for watch in trained:
                    yield from watch.results(rows, share, self._engine_name(way))
                return
        yield from self._by_reference(loaded, trials, note)


def _checked_parts(
    loaded: LoadedModel,
    problems: Sequence[Problem],
    kind: LaneKind,
    tokens: int,
    lanes: Sequence[T],
    lockstep: Lockstep,
) -> Iterator[Sequence[T]]:
    """The lanes of a batch in as few parts of nearly equal size as the memory that is free now allows.

    The plan has chosen the batch for the memory of its workers, so it is one part unless others take that memory. All
    lanes get the largest rank of any. `problems`: that of each lane. Of each part every process trains a share.

    Raises:
        NotFusable: as `isolation.check`, which is asked once for each of LoRA's settings.
    """
    for own in {problem.lora: problem for problem in problems}.values():
        check(loaded, own, kind, lanes=min(2, len(lanes)))
    largest = max(problems, key=lambda problem: 0 if problem.lora is None else problem.lora.rank)
    of_one = lane_bytes(kind, largest, loaded.size, tokens, loaded.model.dtype.itemsize)
    room = max(1, int(free_bytes(loaded.model.device) // of_one))
    parts = lockstep.largest(math.ceil(len(lanes) / (room * lockstep.ranks)))
    size = math.ceil(len(lanes) / parts)
    for start in range(0, len(lanes), size):
        yield lanes[start : start + size]


def _prompt(trial: Trial) -> tuple[int, ...]:
    return trial.measured.tokens.prompt


def _partition(trials: list[Trial], group_of: Callable[[int], object]) -> list[list[Trial]]:
    """The trials by the group of their prompt's length, in the order of each group's first trial."""
    parts: dict[object, list[Trial]] = {}
    for trial in trials:
        parts.setdefault(group_of(len(_prompt(trial))), []).append(trial)
    return list(parts.values())
