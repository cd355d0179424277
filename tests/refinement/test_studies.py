"""A run's searches as Optuna studies: the same trials, the same brackets, and a sampler that could go on."""

from __future__ import annotations

import optuna
import pytest

import phantom_dist
from phantom_dist.core.errors import InputError, StoreError
from phantom_dist.refinement.root_search import Bracket
from phantom_dist.refinement.sampler import journal
from tests.stored_runs import unpacked


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return phantom_dist.open_run(unpacked("v1", tmp_path_factory.mktemp("runs")))


def check(run, studies):
    rates = {r.problem: r for r in run.status().critical_rates if r.kappa is not None}
    assert len(studies) == len(rates)
    for study in studies.values():
        entry = next(r for key, r in rates.items() if study.study_name.endswith(f"[{key}]"))
        assert len(study.trials) == entry.trials_used
        assert study.user_attrs["context"] == entry.context
        found = study.sampler.result(study)
        if entry.crossing is not None:
            assert isinstance(found, Bracket)
            assert (found.root, (found.low, found.high)) == (entry.eta_c, entry.bracket)


def test_in_memory_they_hold_what_the_run_found(run):
    check(run, run.studies())


def test_a_journal_is_written_whole_and_anew(run, tmp_path):
    place = tmp_path / "studies.log"
    check(run, run.studies(place))
    check(run, run.studies(place))
    assert [p for p in tmp_path.iterdir() if not p.name.endswith(".lock")] == [place]
    names = optuna.study.get_all_study_names(storage=journal(str(place)))
    assert sorted(names) == sorted(run.studies())


def test_in_another_storage_they_are_replaced(run, tmp_path):
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    check(run, run.studies(url))
    check(run, run.studies(url))


def test_what_cant_be_done_is_said(run, tmp_path):
    with pytest.raises(InputError, match="nosuch://x"):
        run.studies("nosuch://x")
    with pytest.raises(StoreError, match="can't write the studies"):
        run.studies(tmp_path / "no" / "folder.log")
