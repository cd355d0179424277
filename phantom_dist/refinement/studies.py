"""A run's searches as Optuna studies, made from what it stored: for optuna-dashboard, or to search on by hand.

One study for each problem with a search, its sampler included; its trials are the trained ones, in the order of the
table. The studies are a copy: a run neither reads nor needs them, and `trials/` stays what is true.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage

from phantom_dist.core.errors import InputError, StoreError
from phantom_dist.core.outcome import Outcome
from phantom_dist.refinement.critical_rate import WHICH, critical_rates_of
from phantom_dist.refinement.sampler import (
    GAP,
    LEARNING_RATE,
    OUTCOME,
    RANGE,
    CriticalRateSampler,
    journal,
    size,
)
from phantom_dist.spec import SweepSpec, expand, tolerance_of

Row = dict[str, Any]


def studies(
    specs: Sequence[SweepSpec],
    probes: Iterable[Row],
    trials: Sequence[Row],
    storage: str | os.PathLike[str] | None = None,
) -> dict[str, optuna.Study]:
    """One study for each problem whose critical rate is searched for, by the study's name.

    Args:
        specs: the sweeps.
        probes: rows of `probes/`.
        trials: rows of `trials/`.
        storage: None: in memory; the path of a journal, which is written anew; or the URL of an Optuna storage, where
            studies of the same problems are replaced.

    Raises:
        InputError: no sweep searches for critical rates, or the storage can't be used.
        StoreError: the journal can't be written.
    """
    tolerances = {p.key: tolerance_of(spec) for spec in specs for p in expand(spec)}
    known = [row for row in probes if row["kappa"] is not None and tolerances.get(row["problem"]) is not None]
    if not known:
        raise InputError("studies: the run has no search for a critical rate that has begun")
    entries = {entry["problem"]: entry for entry in critical_rates_of(specs, known, trials)}
    by_problem: dict[str, list[Row]] = {}
    for row in trials:
        by_problem.setdefault(row["problem"], []).append(row)

    def all_in(place: BaseStorage) -> list[optuna.Study]:
        there = {known.study_name for known in place.get_all_studies()}
        return [
            _made(p, entries[p["problem"]], by_problem.get(p["problem"], []), tolerances, place, there)
            for p in known
        ]

    with _quiet():
        if storage is None or "://" in os.fspath(storage):
            return {study.study_name: study for study in all_in(_opened(storage))}
        final = Path(storage)
        partial = final.with_name(f".{final.name}.{os.getpid()}")
        try:
            made = all_in(journal(os.fspath(partial)))
            partial.replace(final)
        except OSError as error:
            with suppress(OSError):
                partial.unlink()
            raise StoreError(f"{final}: can't write the studies: {error.strerror or error}") from error
        place = journal(os.fspath(final))
        return {
            study.study_name: optuna.load_study(
                study_name=study.study_name, storage=place, sampler=study.sampler
            )
            for study in made
        }


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna says a line for every study that it makes."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _opened(url: str | os.PathLike[str] | None) -> BaseStorage:
    try:
        return optuna.storages.get_storage(None if url is None else os.fspath(url))
    except Exception as error:  # whatever a database's driver raises
        raise InputError(f"studies: the storage {os.fspath(url or '')!r} can't be opened: {error}") from None


def _made(
    probe: Row,
    entry: Row,
    trials: Iterable[Row],
    tolerances: Mapping[str, float | None],
    storage: BaseStorage,
    there: Collection[str],
) -> optuna.Study:
    key = probe["problem"]
    tolerance = tolerances[key]
    assert tolerance is not None
    name = f"{probe['model']} {probe['context']} {probe['method']} {probe['optimizer']} T={probe['steps']} [{key}]"
    if name in there:
        optuna.delete_study(study_name=name, storage=storage)
    sampler = CriticalRateSampler(
        gap_0=probe["gap_0"], slope_0=probe["effective_steps"] * probe["kappa"], tolerance=tolerance
    )
    study = optuna.create_study(storage=storage, study_name=name, sampler=sampler)
    for attribute in (*WHICH, "gap_0", "kappa", "eta_c", "bracket", "pi_c", "reason"):
        study.set_user_attr(attribute, entry[attribute])
    for row in trials:
        if Outcome(row["outcome"]).trained:
            gap = row["gap_final"]
            study.add_trial(
                optuna.create_trial(
                    params={LEARNING_RATE: row["learning_rate"]},
                    distributions={LEARNING_RATE: RANGE},
                    value=size(gap),
                    user_attrs={GAP: gap, OUTCOME: row["outcome"], "trial_id": row["trial_id"]},
                )
            )
    return study
