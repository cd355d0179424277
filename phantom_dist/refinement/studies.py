"""A run's searches as Optuna studies, built from its stored trials: for optuna-dashboard, or to continue by hand.

There is one study for each problem with a search, with its sampler; its trials are the trained ones, in the order of
the table. The studies are a copy: a run neither reads nor needs them, and `trials/` remains the source of truth.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import optuna
from optuna.storages import BaseStorage

from phantom_dist.core.errors import InputError, StoreError
from phantom_dist.core.problem_columns import PROBLEM_COLUMNS
from phantom_dist.core.summaries import ProbeSummary, TrialSummary
from phantom_dist.refinement.critical_rate import CriticalRate, by_problem, critical_rates_of
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


def studies(
    specs: Sequence[SweepSpec],
    probes: Iterable[ProbeSummary],
    trials: Sequence[TrialSummary],
    storage: str | os.PathLike[str] | None = None,
) -> dict[str, optuna.Study]:
    """One study for each problem whose critical rate is searched for, by the study's name.

    Args:
        specs: the sweeps.
        probes: of the run.
        trials: of the run.
        storage: None for memory; the path of a journal, which is replaced; or the URL of an Optuna storage, in which
            studies of the same problems are replaced.

    Raises:
        InputError: no sweep searches for critical rates, or the storage can't be opened.
        StoreError: the journal can't be written.
    """
    tolerances = {p.key: tolerance_of(spec) for spec in specs for p in expand(spec)}
    samplers = {
        probe: sampler
        for probe in probes
        if (sampler := _sampler(probe, tolerances.get(probe.problem))) is not None
    }
    if not samplers:
        raise InputError("studies: the run has no search for a critical rate, or none has a probe yet")
    rates = {rate.problem: rate for rate in critical_rates_of(specs, samplers, trials)}
    trials_of = by_problem(trials)

    def create_in(place: BaseStorage) -> list[optuna.Study]:
        existing = {known.study_name for known in place.get_all_studies()}
        return [
            _create_study(rates[probe.problem], sampler, trials_of.get(probe.problem, []), place, existing)
            for probe, sampler in samplers.items()
        ]

    with _quiet():
        if storage is None or "://" in os.fspath(storage):
            return {study.study_name: study for study in create_in(_open_storage(storage))}
        # Write a new journal beside the old one, then replace that: a reader sees either of them complete.
        final = Path(storage)
        partial = final.with_name(f".{final.name}.{os.getpid()}")
        try:
            created = create_in(journal(os.fspath(partial)))
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
            for study in created
        }


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Optuna from logging a line for every study that it creates."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _open_storage(url: str | os.PathLike[str] | None) -> BaseStorage:
    try:
        return optuna.storages.get_storage(None if url is None else os.fspath(url))
    except Exception as error:  # a database driver may raise anything
        raise InputError(f"studies: the storage {os.fspath(url or '')!r} can't be opened: {error}") from None


def _sampler(probe: ProbeSummary, tolerance: float | None) -> CriticalRateSampler | None:
    """The sampler of a problem's search; None if its sweep doesn't search, or the pair was refused."""
    if tolerance is None or probe.gap_0 is None or probe.kappa is None:
        return None
    return CriticalRateSampler(
        gap_0=probe.gap_0, slope_0=probe.effective_steps * probe.kappa, tolerance=tolerance
    )


def _create_study(
    rate: CriticalRate,
    sampler: CriticalRateSampler,
    trials: Iterable[TrialSummary],
    storage: BaseStorage,
    existing: Collection[str],
) -> optuna.Study:
    name = f"{rate.model} {rate.context} {rate.method} {rate.optimizer} T={rate.steps} [{rate.problem}]"
    if name in existing:
        optuna.delete_study(study_name=name, storage=storage)
    study = optuna.create_study(storage=storage, study_name=name, sampler=sampler)
    columns = rate.to_json()
    for attribute in (*PROBLEM_COLUMNS, "gap_0", "kappa", "eta_c", "bracket", "pi_c", "reason"):
        study.set_user_attr(attribute, columns[attribute])
    for trial in trials:
        if trial.outcome.trained:
            study.add_trial(
                optuna.create_trial(
                    params={LEARNING_RATE: trial.learning_rate},
                    distributions={LEARNING_RATE: RANGE},
                    value=size(trial.gap_final),
                    user_attrs={
                        GAP: trial.gap_final,
                        OUTCOME: trial.outcome.value,
                        "trial_id": trial.trial_id,
                    },
                )
            )
    return study
