"""The page in headless Chromium: every figure draws, nothing goes wrong, user text runs no code."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from phantom_dist import reports
from phantom_dist.reports import RunTables

from .test_page import FIGURES, hostile

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None,
    reason="no Chromium here (Debian: apt-get install chromium); the page is not opened in a browser",
)


def opened(runs: list[RunTables], folder: Path, *more: str) -> str:
    """The document as it stands after its scripts ran."""
    assert CHROMIUM is not None
    page = folder / "report.html"
    reports.write(runs, page)
    quiet = (
        "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
        "--disable-sync --no-first-run --disable-quic --virtual-time-budget=60000 --dump-dom"
    )
    command = [CHROMIUM, *quiet.split(), f"--user-data-dir={folder / 'profile'}", *more, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    return done.stdout


def figures_in(document: str) -> dict[str, str]:
    """The document's plots: name -> everything from its element to the next plot."""
    parts = re.split(r'<div class="plot[^"]*" data-figure="', document)[1:]
    return {part.split('"', 1)[0]: part for part in parts}


def marks_in(part: str) -> int:
    """Drawn points, bars, lines and ticks: not axes, legends or the frames of the panels."""
    svg = part[part.index("<svg") :]
    return len(re.findall(r'aria-roledescription="(?:point|bar|line mark|tick)"', svg))


def assert_all_drawn(document: str, expected: set[str]) -> None:
    root = re.search(r"<html[^>]*>", document)
    assert root is not None
    assert "data-errors" not in root[0], root[0]
    plots = figures_in(document)
    assert set(plots) == expected
    for name, part in plots.items():
        opening = part.split(">", 1)[0]
        assert 'data-drawn="true"' in opening, f"{name}: {opening}"
        assert "data-error" not in opening
        assert marks_in(part) > 0, f"{name} has no marks"
        assert "NaN" not in part.split("</svg>", 1)[0], f"{name} draws NaN"


def test_every_figure_draws(tmp_path: Path, tiny_run: RunTables) -> None:
    document = opened([tiny_run], tmp_path)
    assert_all_drawn(document, FIGURES)
    plots = figures_in(document)
    assert marks_in(plots["phase-map"]) >= tiny_run.trials.num_rows  # type: ignore[attr-defined]
    assert plots["silent-failure"].count("<option") == len(tiny_run.critical_rates)


def test_hostile_text_draws_and_runs_nothing(tmp_path: Path, tiny_run: RunTables) -> None:
    document = opened([hostile(tiny_run)], tmp_path)
    assert_all_drawn(document, FIGURES)
    assert "data-pwned" not in document.split(">", 2)[1]


def test_several_runs_draw(tmp_path: Path, tiny_run: RunTables) -> None:
    assert_all_drawn(opened([tiny_run, replace(tiny_run, name="second")], tmp_path), FIGURES)


@pytest.mark.parametrize(
    "broken", [{"mark": "nonsense"}, {"mark": "point", "encoding": {}, "data": {"values": []}}]
)
def test_a_figure_that_does_not_draw_is_seen(
    tmp_path: Path, tiny_run: RunTables, monkeypatch: pytest.MonkeyPatch, broken: dict[str, object]
) -> None:
    """The checks above can fail: for an impossible figure, and for an empty one."""
    monkeypatch.setattr(reports.page, "_specification", lambda chart: broken)
    document = opened([tiny_run], tmp_path)
    with pytest.raises(AssertionError, match=r"data-errors|has no marks"):
        assert_all_drawn(document, FIGURES)
