"""Counts of LoRA sufficiency by model and training, from runs, for the law's second quantity."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from phantom_dist.calibration.calibrate import MeasurementKey, settings_of
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.summaries import TrialSummary
from phantom_dist.engines.trainable import readout_matrix
from phantom_dist.instruments.bulk import bulk
from phantom_dist.law.sufficiency_split import SETTINGS, SufficiencyCount
from phantom_dist.models.load import LoadedModel, load
from phantom_dist.refinement.critical_rate import CriticalRate, critical_rates_of
from phantom_dist.spec import tolerance_of
from phantom_dist.traces import RunDirectory, directory_and_sweeps
from phantom_dist.traces.decode import probe_summaries, trial_summaries

FAILS = ("kappa_not_positive", "diverges_before_crossing", "no_crossing_found")
"""Reasons for no critical rate that are properties of the model. A search that ended otherwise, as in an error, is no
evidence."""


def bulk_of(loaded: LoadedModel) -> dict[str, float]:
    """Statistics of the model's readout overlaps, by name, to ten digits.

    The last digits depend on processor and number of threads, because the order of sums does. Without the rounding a
    model could fall outside its own calibration.
    """
    statistics: dict[str, float] = dataclasses.asdict(bulk(readout_matrix(loaded.model)))
    return {name: float(f"{value:.10g}") for name, value in statistics.items()}


def finished_lora_searches(rates: Iterable[CriticalRate]) -> list[CriticalRate]:
    """The searches under LoRA that found a critical rate or failed for a reason in `FAILS`.

    Without those under clipping, rank-stabilised scaling or a training set, which `sufficiency_split.SETTINGS` don't
    tell apart.
    """
    return [
        rate
        for rate in rates
        if rate.method == "lora" and rate.kappa is not None and rate.reason in (None, *FAILS)
        if rate.gradient_clipping is None and not rate.lora_rslora and rate.training_set is None
    ]


def sufficiency_counts(
    directories: Sequence[str | os.PathLike[str]], known: Sequence[SufficiencyCount] = ()
) -> list[SufficiencyCount]:
    """One count for each model and LoRA setting that the runs searched.

    Args:
        directories: runs or archives with searches for critical rates; runs over fixed learning rates are ignored.
        known: earlier counts, whose readout statistics are reused for the same models.

    Returns:
        One count per model and setting. The reason `structural` means that the drag of every committed trial of a
        search had fallen by more than the threshold. A context that several runs searched in the same way counts once.

    Raises:
        InputError: a directory contains no run, or a model that `known` lacks can't be reached any more.
    """
    statistics = {count.weights: count.bulk for count in known}
    seen: set[MeasurementKey] = set()
    tallies: dict[tuple[Any, ...], _Tally] = {}
    for location in directories:
        directory, every = directory_and_sweeps(location)
        specs = [spec for spec in every if tolerance_of(spec) is not None]
        if not specs:
            continue
        stored, trials = directory.probes(), trial_summaries(directory.trials())
        probes = {probe["problem"]: probe for probe in stored.to_pylist()}
        rates = finished_lora_searches(critical_rates_of(specs, probe_summaries(stored), trials))
        structural = _structural(directory, rates, trials)
        for rate in rates:
            probe = probes[rate.problem]
            weights = probe["weights"]
            key = MeasurementKey.of(
                rate, weights=weights, settings=settings_of(probe, None), gap_0=probe["gap_0"]
            )
            if key in seen:
                continue
            seen.add(key)
            if weights not in statistics:
                statistics[weights] = bulk_of(load(rate.model))
            training = {name: getattr(rate, name) for name in SETTINGS}
            tally = tallies.setdefault((weights, *training.values()), _Tally(rate.model, weights, training))
            tally.add(rate.reason or ("structural" if rate.problem in structural else None))
    return [tally.count(statistics[tally.weights]) for tally in tallies.values()]


@dataclass
class _Tally:
    """Collects one count."""

    model: str
    weights: str
    training: dict[str, Any]
    contexts: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, reason: str | None) -> None:
        """Count a context; `reason`: why LoRA is not sufficient in it, None where it is."""
        self.contexts += 1
        if reason is not None:
            self.reasons[reason] += 1

    def count(self, bulk: Mapping[str, float]) -> SufficiencyCount:
        return SufficiencyCount(
            model=self.model,
            weights=self.weights,
            **self.training,
            contexts=self.contexts,
            sufficient=self.contexts - self.reasons.total(),
            reasons=dict(self.reasons),
            bulk=bulk,
        )


def merge_counts(
    earlier: Sequence[SufficiencyCount], new: Sequence[SufficiencyCount]
) -> list[SufficiencyCount]:
    """Merge counts: a new one replaces the earlier one of its model and settings, unless that has more contexts."""
    kept: dict[tuple[Any, ...], SufficiencyCount] = {}
    for count in (*earlier, *new):
        key = (count.weights, *count.training)
        if key not in kept or count.contexts >= kept[key].contexts:
            kept[key] = count
    return list(kept.values())


def _structural(
    directory: RunDirectory, rates: Sequence[CriticalRate], trials: Sequence[TrialSummary]
) -> set[str]:
    """Problems in which the drag of every committed trial had fallen by more than the threshold."""
    crossing = {rate.problem for rate in rates if rate.crossing is not None}
    committed = {
        trial.trial_id: trial
        for trial in trials
        if trial.problem in crossing and trial.outcome is Outcome.COMMITTED
    }
    traces = directory.traces(list(committed)).select(["trial_id", "step", "drag"])
    starts = {row["trial_id"]: row["drag"] for row in traces.to_pylist() if row["step"] == 0}
    not_structural = {
        trial.problem
        for name, trial in committed.items()
        if trial.drag_final >= starts[name] - trial.structural_drag
    }
    return crossing - not_structural
