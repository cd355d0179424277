"""The command: run directories in, one page out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import phantom_dist
from phantom_dist.core.errors import InputError
from phantom_dist.reports import Rows, RunTables, read_run, report
from phantom_dist.reports.abstract import abstract

from .runs import CONTEXTS


@pytest.fixture
def stored(tmp_path: Path, stored_run: Path) -> Path:
    """A copy of a run directory."""
    return shutil.copytree(stored_run, tmp_path / "run")


def test_a_stored_run_is_read_as_it_was_measured(stored: Path) -> None:
    run = read_run(stored)
    assert (run.name, run.tolerance) == ("tiny", 0.01)
    assert run.prompts == {c.id: c.text for c in CONTEXTS[:3]}
    assert run.titles == {"zoo:gpt2-a": "gpt2-a (zoo)"}
    assert tuple(run.critical_rates) == phantom_dist.status(stored).critical_rates
    assert len(run.critical_rates) == 6


def test_report_writes_the_page_and_says_where(stored: Path, tmp_path: Path, tiny_run: RunTables) -> None:
    file = tmp_path / "new folder" / "page.html"
    said = phantom_dist.report([stored], out=file)
    assert said.to_json() == {
        "file": str(file),
        "bytes": file.stat().st_size,
        "runs": ["tiny"],
        "verdict": abstract(Rows.of(read_run(stored))),
        "critical_rates": len(tiny_run.critical_rates),
    }
    assert "data-figure" in file.read_text(encoding="utf-8")


def test_runs_of_the_same_name_are_told_apart_by_their_folder(stored: Path, tmp_path: Path) -> None:
    names = report([stored, f"{stored}/"], tmp_path / "page.html").runs
    assert names == (f"tiny ({stored})", f"tiny ({stored}/)")


def test_no_directory_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^report: name at least one run directory$"):
        report([], tmp_path / "page.html")


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run directory"):
        report([tmp_path], tmp_path / "page.html")


def test_a_place_where_no_page_can_be_written(stored: Path) -> None:
    with pytest.raises(InputError, match=r"--out .*sweep\.yaml/page\.html: the page can't be written: "):
        report([stored], stored / "sweep.yaml" / "page.html")
