"""Calibration rows, to which a law is fitted: the critical rates of runs, each with its probed path."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from phantom_dist.core.errors import InputError, OutOfMemory
from phantom_dist.core.probe_result import Measured, ProbeResult, Refused
from phantom_dist.core.problem_columns import ProblemColumns
from phantom_dist.core.trial import Problem, problems_by_training
from phantom_dist.engines.path.cost import can_be_predicted
from phantom_dist.engines.path.probe import probe_path
from phantom_dist.engines.set_probe import probe_on_set
from phantom_dist.engines.training_sets import TrainingSets
from phantom_dist.law.calibration_row import CalibrationRow
from phantom_dist.law.file_format import keys_of
from phantom_dist.law.law_input import TrainingSettings, law_input, targets_of
from phantom_dist.models.device import device_of
from phantom_dist.models.load import LoadedModel, load
from phantom_dist.records import probe_row
from phantom_dist.refinement.critical_rate import CriticalRate, Crossing, critical_rates_of
from phantom_dist.spec import expand
from phantom_dist.traces import directory_and_sweeps
from phantom_dist.traces.decode import probe_summaries, trial_summaries
from phantom_dist.traces.training_data import read_examples

Observer = Callable[[int, int], None]

MOST_WIDE = 0.05
"""Largest relative width of a bracket that counts as a measurement; the root inside is then known to about 1 %."""

TOO_WIDE = f"bracket_wider_than_{100 * MOST_WIDE:g}_percent"

MOST_WIDE_ON_SETS = 0.1
"""The same on training sets, where shared trainings leave brackets as wide as that, and predictions err by more."""

WIDENS = "first_steps_widen_the_gap"

NO_WALK = "path_of_optimizer_unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasurementKey:
    """Identifies a measured critical rate, independent of the names of context and model; equal keys mean equal trials.

    `gap_0` (logits, three decimals) stands for the prompt.
    """

    weights: str
    target: str
    competitor: str
    training_class: str
    steps: int
    lora_targets: str | None
    seed: int
    settings: TrainingSettings
    gap_0: str
    training_set: str | None = None

    @classmethod
    def of(cls, problem: ProblemColumns, *, weights: str, settings: TrainingSettings, gap_0: float) -> Self:
        """The key of a problem with a measured gap; `weights`: sha256 of its model."""
        return cls(
            weights=weights,
            target=problem.target,
            competitor=problem.competitor,
            training_class=problem.training_class,
            steps=problem.steps,
            lora_targets=problem.lora_targets,
            seed=problem.seed,
            settings=settings,
            gap_0=f"{gap_0:.3f}",
            training_set=problem.training_set,
        )

    @classmethod
    def of_row(cls, row: CalibrationRow) -> Self:
        """The key of a calibration row."""
        probed = row.law_input
        return cls.of(row, weights=row.weights, settings=probed.settings, gap_0=probed.gap_0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """Calibration rows from runs, and the number of problems that gave none, by reason."""

    rows: list[CalibrationRow]
    dropped: dict[str, int]


def calibrate(
    directories: Sequence[str | os.PathLike[str]],
    known: Collection[MeasurementKey] = (),
    observer: Observer | None = None,
) -> Calibration:
    """One row for each critical rate that the runs measured.

    A rate measured by several runs counts once. A path that a run didn't probe is probed now, which needs its model.

    Args:
        directories: run directories and archives.
        known: keys of rates that are already calibrated and are skipped.
        observer: called with (done, total) after each probed path.

    Raises:
        InputError: a directory contains no run, or one of its models can't be reached any more.
    """
    seen = set(known)
    dropped: Counter[str] = Counter()
    rows: list[CalibrationRow] = []
    unprobed: dict[str, list[_Unprobed]] = {}
    for location in directories:
        directory, specs = directory_and_sweeps(location)
        problems = {problem.key: problem for spec in specs for problem in expand(spec)}
        sets = TrainingSets(functools.partial(read_examples, directory))
        together = problems_by_training(problems.values())
        stored = directory.probes()
        probes = {row["problem"]: row for row in stored.to_pylist()}
        for rate in critical_rates_of(specs, probe_summaries(stored), trial_summaries(directory.trials())):
            if rate.crossing is None:
                dropped[str(rate.reason)] += 1
                continue
            low, high = rate.crossing.bracket
            problem, probe = problems.get(rate.problem), probes[rate.problem]
            if high / low - 1 > (MOST_WIDE if rate.training_set is None else MOST_WIDE_ON_SETS):
                dropped[TOO_WIDE] += 1
                continue
            if problem is None or (key := _key(rate, probe, problem)) in seen:
                continue
            seen.add(key)
            if probe["path_rates"] == []:
                dropped[WIDENS] += 1
            elif probe["path_rates"] is not None:
                rows.append(_row(rate, rate.crossing, probe, problem))
            elif not can_be_predicted(problem):
                dropped[NO_WALK] += 1
            else:
                words = together[problem.training_at(None)]
                unprobed.setdefault(problem.model, []).append(
                    _Unprobed(rate, rate.crossing, problem, tuple(words), sets)
                )
    total, done = sum(map(len, unprobed.values())), 0
    for model, measured in unprobed.items():
        loaded: dict[str, LoadedModel] = {}
        on_sets: dict[tuple[Problem, ...], dict[Problem, ProbeResult]] = {}
        for each in measured:
            problem, precision = each.problem, each.problem.weights_precision
            if precision not in loaded:
                loaded[precision] = load(model, precision=precision, device=device_of("auto"))
            try:
                if problem.training is None:
                    probed = probe_path(loaded[precision], problem)
                elif (known_words := on_sets.get(each.of_training)) is not None:
                    probed = known_words[problem]
                else:
                    of_set, _ = probe_on_set(loaded[precision], each.of_training, each.sets)
                    on_sets[each.of_training] = dict(zip(each.of_training, of_set, strict=True))
                    probed = on_sets[each.of_training][problem]
            except (OutOfMemory, ArithmeticError) as error:
                dropped[f"path: {error}"] += 1
            else:
                _require_measured(probed, problem)
                if isinstance(probed, Measured) and probed.estimated is not None:
                    rows.append(_row(each.rate, each.crossing, probe_row(probed), problem))
                else:  # as the sample of a training set sees all its words; a search may still find a rate
                    dropped[WIDENS] += 1
            done += 1
            if observer is not None:
                observer(done, total)
    return Calibration(rows=rows, dropped=dict(dropped))


def _require_measured(probed: ProbeResult, problem: Problem) -> None:
    """Raise an InputError for a pair that a run measured a critical rate of, and that has none now."""
    if isinstance(probed, Refused):
        now = f"the pair is refused ({probed.message})"
    elif probed.kappa <= 0 and problem.training is None:
        now = "the first steps widen the gap"
    else:
        return
    raise InputError(
        f"{problem.model} in context {problem.context.id!r}: the run measured a critical rate, but now {now}. "
        f"Have the model's weights changed?"
    )


@dataclass(frozen=True, slots=True)
class _Unprobed:
    """A measured rate whose path has to be probed; `of_training`: all problems of its training."""

    rate: CriticalRate
    crossing: Crossing
    problem: Problem
    of_training: tuple[Problem, ...]
    sets: TrainingSets


def settings_of(probe: Mapping[str, Any], targets: str | None) -> TrainingSettings:
    """The settings of a row of `probes/`; `targets`: LoRA's targets as in the sweep, None where they are unknown."""
    return TrainingSettings.from_columns({**probe, "adapters": targets})


def _key(rate: CriticalRate, probe: Mapping[str, Any], problem: Problem) -> MeasurementKey:
    settings = settings_of(probe, targets_of(problem.lora))
    return MeasurementKey.of(rate, weights=probe["weights"], settings=settings, gap_0=probe["gap_0"])


def _row(
    rate: CriticalRate, crossing: Crossing, probe: Mapping[str, Any], problem: Problem
) -> CalibrationRow:
    inputs = law_input(probe, problem)
    return CalibrationRow(
        problem=rate.problem,
        **rate.problem_columns(),
        eta_c=crossing.eta_c,
        bracket=crossing.bracket,
        weights=probe["weights"],
        width=probe["width"],
        law_input=inputs,
        probe_trial_steps=probe["probe_trial_steps"],
        held_out=None,
        keys=keys_of(inputs),
    )
