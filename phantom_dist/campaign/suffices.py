"""Where LoRA sufficed: counts by model and way of training, from runs, for the law's second quantity."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import Any

from phantom_dist.campaign.calibrate import measurement_of
from phantom_dist.core.outcome import Outcome
from phantom_dist.engines.trainable import readout_matrix
from phantom_dist.instruments.bulk import bulk
from phantom_dist.models import LoadedModel, load
from phantom_dist.refinement.critical_rate import critical_rates_of
from phantom_dist.spec import tolerance_of
from phantom_dist.traces import RunDirectory, directory_and_sweeps

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
        probes, trials = directory.probes().to_pylist(), directory.trials().to_pylist()
        by_problem = {probe["problem"]: probe for probe in probes}
        entries = [e for e in critical_rates_of(specs, probes, trials) if e["method"] == "lora"]
        entries = [e for e in entries if e["kappa"] is not None and e["reason"] in (None, *FAILS)]
        structural = _structural(directory, entries, trials)
        for entry in entries:
            measured = measurement_of(by_problem[entry["problem"]])
            if measured in seen:
                continue
            seen.add(measured)
            digest = by_problem[entry["problem"]]["weights"]
            if digest not in statistics:
                statistics[digest] = bulk_of(load(entry["model"]))
            settings = {name: entry[name] for name in SETTINGS}
            row = rows.setdefault(
                (digest, *settings.values()),
                {"model": entry["model"], "weights": digest}
                | settings
                | {"contexts": 0, "sufficient": 0, "reasons": {}, "bulk": statistics[digest]},
            )
            reason = entry["reason"] or ("structural" if entry["problem"] in structural else None)
            row["contexts"] += 1
            if reason is None:
                row["sufficient"] += 1
            else:
                row["reasons"][reason] = row["reasons"].get(reason, 0) + 1
    return list(rows.values())


def _structural(directory: RunDirectory, entries: Sequence[Row], trials: Sequence[Row]) -> set[str]:
    """Problems in which every trial that committed ended with a drag that had fallen by more than the threshold."""
    found = {e["problem"] for e in entries if e["bracket"] is not None}
    ends = {
        r["trial_id"]: r for r in trials if r["problem"] in found and r["outcome"] == Outcome.COMMITTED.value
    }
    starts = {r["trial_id"]: r["drag"] for r in directory.traces(list(ends)).to_pylist() if r["step"] == 0}
    sound = {
        row["problem"]
        for name, row in ends.items()
        if row["drag_final"] >= starts[name] - row["structural_drag"]
    }
    return found - sound
