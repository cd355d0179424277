"""The command: run directories in, one page out."""

from __future__ import annotations

from pathlib import Path

import pytest

import phantom_dist
from phantom_dist.core.errors import InputError
from phantom_dist.reports import RunTables, read_run, report
from phantom_dist.traces import RunDirectory, Store

SWEEP = """\
name: stored
models: [zoo:tiny]
contexts: [{id: prompt-0, text: "She was very", target: " glad", competitor: " happy"}]
learning_rates: {critical: {tolerance: 0.01}}
"""


@pytest.fixture
def stored(tmp_path: Path, tiny_run: RunTables) -> Path:
    """A run directory that holds the tiny run as one batch."""
    place = tmp_path / "run"
    directory = RunDirectory(Store(place))
    directory.write_sweep(SWEEP)
    directory.write_batch(
        "b0", tiny_run.trials.to_pylist(), {"zoo:tiny": tiny_run.traces.drop(["model"]).to_pylist()}
    )
    return place


def test_a_stored_run_is_read_as_it_was_measured(stored: Path, tiny_run: RunTables) -> None:
    run = read_run(stored)
    assert (run.name, run.tolerance, run.prompts) == ("stored", 0.01, {"prompt-0": "She was very"})
    found = {(r["context"], r["method"]): r["bracket"] for r in run.critical_rates}
    assert found == {(r["context"], r["method"]): r["bracket"] for r in tiny_run.critical_rates}


def test_report_writes_the_page_and_says_where(stored: Path, tmp_path: Path, tiny_run: RunTables) -> None:
    file = tmp_path / "new folder" / "page.html"
    said = phantom_dist.report([stored], out=file)
    assert said == {
        "file": str(file),
        "bytes": file.stat().st_size,
        "runs": ["stored"],
        "critical_rates": len(tiny_run.critical_rates),
    }
    assert "data-figure" in file.read_text(encoding="utf-8")


def test_runs_of_the_same_name_are_told_apart_by_their_folder(stored: Path, tmp_path: Path) -> None:
    names = report([stored, f"{stored}/"], tmp_path / "page.html")["runs"]
    assert names == [f"stored ({stored})", f"stored ({stored}/)"]


def test_no_directory_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^report: name at least one run directory$"):
        report([], tmp_path / "page.html")


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run directory"):
        report([tmp_path], tmp_path / "page.html")


def test_a_place_where_no_page_can_be_written(stored: Path) -> None:
    with pytest.raises(InputError, match=r"--out .*sweep\.yaml/page\.html: the page can't be written: "):
        report([stored], stored / "sweep.yaml" / "page.html")
