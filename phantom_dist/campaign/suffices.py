"""Where LoRA sufficed: counts by model and way of training, from runs, for the law's second quantity."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from phantom_dist.campaign.calibrate import measurement_of
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.summaries import TrialSummary
from phantom_dist.engines.trainable import readout_matrix
from phantom_dist.instruments.bulk import bulk
from phantom_dist.models import LoadedModel, load
from phantom_dist.refinement.critical_rate import CriticalRate, critical_rates_of
from phantom_dist.spec import tolerance_of
from phantom_dist.traces import RunDirectory, directory_and_sweeps
from phantom_dist.traces.decode import probe_summaries, trial_summaries

Row = dict[str, Any]

SETTINGS = ("optimizer", "lora_rank", "lora_alpha", "lora_targets", "schedule", "steps", "precision")
"""Contexts of one model with these in common are counted together."""

FAILS = ("kappa_not_positive", "diverges_before_crossing", "no_crossing_found")
"""Reasons for no critical rate that are the model's own; a search that ended otherwise (an error) tells nothing."""


def bulk_of(loaded: LoadedModel) -> dict[str, float]:
    """Statistics of the model's readout overlaps, by name, to ten digits.

    Another processor or number of threads adds them up in another order, so their last digits differ; a model must not
    fall out of its own calibration by that.
    """
    found: dict[str, float] = dataclasses.asdict(bulk(readout_matrix(loaded.model)))
    return {name: float(f"{value:.10g}") for name, value in found.items()}


def lora_rows(
    directories: Sequence[str | os.PathLike[str]], known: Sequence[Mapping[str, Any]] = ()
) -> list[Row]:
    """One row for each model and LoRA setting that the runs searched.

    Args:
        directories: runs or archives with searches for critical rates; runs over given rates say nothing here.
        known: earlier rows, whose models' statistics are taken over.

    Returns:
        rows with `model`, `weights`, the settings, `contexts`, `sufficient`, `reasons` (why not, counted; `structural`
        where the drag of every trial that committed had fallen by more than the threshold) and `bulk`. A context that
        several runs searched alike counts once.

    Raises:
        InputError: no run directory, or a model whose readout is not known can't be reached any more.
    """
    statistics = {row["weights"]: row["bulk"] for row in known}
    seen: set[tuple[Any, ...]] = set()
    rows: dict[tuple[Any, ...], Row] = {}
    for location in directories:
        directory, every = directory_and_sweeps(location)
        specs = [spec for spec in every if tolerance_of(spec) is not None]
        if not specs:
            continue
        stored, trials = directory.probes(), trial_summaries(directory.trials())
        probes = {probe["problem"]: probe for probe in stored.to_pylist()}
        rates = [
            rate
            for rate in critical_rates_of(specs, probe_summaries(stored), trials)
            if rate.method == "lora" and rate.kappa is not None and rate.reason in (None, *FAILS)
        ]
        structural = _structural(directory, rates, trials)
        for rate in rates:
            measured = measurement_of(probes[rate.problem])
            if measured in seen:
                continue
            seen.add(measured)
            digest = probes[rate.problem]["weights"]
            if digest not in statistics:
                statistics[digest] = bulk_of(load(rate.model))
            settings = {name: getattr(rate, name) for name in SETTINGS}
            row = rows.setdefault(
                (digest, *settings.values()),
                {"model": rate.model, "weights": digest}
                | settings
                | {"contexts": 0, "sufficient": 0, "reasons": {}, "bulk": statistics[digest]},
            )
            reason = rate.reason or ("structural" if rate.problem in structural else None)
            row["contexts"] += 1
            if reason is None:
                row["sufficient"] += 1
            else:
                row["reasons"][reason] = row["reasons"].get(reason, 0) + 1
    return list(rows.values())


def _structural(
    directory: RunDirectory, rates: Sequence[CriticalRate], trials: Sequence[TrialSummary]
) -> set[str]:
    """Problems in which every trial that committed ended with a drag that had fallen by more than the threshold."""
    crossing = {rate.problem for rate in rates if rate.crossing is not None}
    committed = {
        trial.trial_id: trial
        for trial in trials
        if trial.problem in crossing and trial.outcome is Outcome.COMMITTED
    }
    traces = directory.traces(list(committed)).select(["trial_id", "step", "drag"])
    starts = {row["trial_id"]: row["drag"] for row in traces.to_pylist() if row["step"] == 0}
    sound = {
        trial.problem
        for name, trial in committed.items()
        if trial.drag_final >= starts[name] - trial.structural_drag
    }
    return crossing - sound
