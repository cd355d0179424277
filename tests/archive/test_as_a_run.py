"""What reads runs reads an archive as well: the page, the law's calibration, and whether LoRA suffices."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

import phantom_dist
from phantom_dist.calibration.calibrate import calibrate
from phantom_dist.calibration.lora_sufficiency import sufficiency_counts
from phantom_dist.reports import read_run


@pytest.fixture(scope="module")
def one(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of searches alone, as an archive."""
    out = tmp_path_factory.mktemp("archives") / "one"
    phantom_dist.archive_pack(runs[:1], out)
    return out


def test_the_page_shows_the_same_critical_rates(runs: list[Path], one: Path, tmp_path: Path) -> None:
    found = phantom_dist.report([one], tmp_path / "archive.html")
    same = phantom_dist.report(runs[:1], tmp_path / "run.html")
    assert dataclasses.replace(found, file="") == dataclasses.replace(same, file="", bytes=found.bytes)
    assert found.critical_rates == 6
    rates = [
        sorted(read_run(place).critical_rates, key=lambda rate: rate.problem) for place in (one, runs[0])
    ]
    assert rates[0] == rates[1]


def test_all_sweeps_of_an_archive_stand_on_one_page(packed: Path, tmp_path: Path) -> None:
    assert phantom_dist.report([packed], tmp_path / "page.html").runs == ("refused, tiny, wild",)


def test_a_law_is_fitted_to_the_same_rows(runs: list[Path], one: Path) -> None:
    of_archive, of_run = (calibrate([place]) for place in (one, runs[0]))
    assert sorted(of_archive.rows, key=str) == sorted(of_run.rows, key=str)
    assert len(of_run.rows) == 6
    assert not of_archive.dropped
    assert sufficiency_counts([one]) == sufficiency_counts(runs[:1]) != []


def test_every_problem_of_an_archive_goes_by_its_own_sweep(runs: list[Path], packed: Path) -> None:
    found = {entry.problem: entry for entry in phantom_dist.open_run(packed).status().critical_rates}
    searched = phantom_dist.status(runs[0]).critical_rates
    assert len(searched) == 6
    for entry in searched:
        assert found[entry.problem].eta_c == entry.eta_c
        assert found[entry.problem].bracket == entry.bracket
