"""The figure of trainings that the monitor watched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from phantom_dist import reports
from phantom_dist.core.errors import InputError
from phantom_dist.reports.figures.monitored import monitored
from phantom_dist.traces.monitor_log import MonitorRecord


def record(warned: bool, looks: int = 6) -> MonitorRecord:
    rows = [
        {
            "row": "look",
            "context": context,
            "step": 10 * i,
            "loss": 5.0 - 0.5 * i,
            "logit_gap": -3.0 + (0.1 if warned else 1.0) * i,
            "signal": -0.2,
            "drag": None if i == 5 else 0.01,
        }
        for i in range(looks)
        for context in ("a", "b")
    ]
    warnings = [{"row": "warning", "context": "a", "kind": "kinematic", "step": 30}] if warned else []
    return MonitorRecord(start={}, looks=rows, warnings=warnings, end=None)


def test_every_training_has_its_column_and_warnings_their_rule():
    chart = monitored({"failing": record(True), "healthy": record(False)})
    columns = [column for row in chart.to_dict()["vconcat"] for column in row["hconcat"]]
    drawn = json.dumps(chart.to_dict())
    assert "failing" in drawn
    assert "healthy" in drawn
    assert '["warned", "a: kinematic"]' in drawn
    assert [str(column).count("words") > 0 for column in columns] == [True, False] * 4  # hover or label


@pytest.mark.parametrize("ending", ["png", "svg", "html"])
def test_it_is_exported(tmp_path: Path, ending: str):
    file = tmp_path / f"figure.{ending}"
    reports.export_monitored({"failing": record(True)}, file)
    assert file.stat().st_size > 5000


def test_what_cannot_be_drawn_is_said(tmp_path: Path):
    with pytest.raises(InputError, match="have no look"):
        reports.export_monitored({"empty": record(False, looks=0)}, tmp_path / "figure.png")
    with pytest.raises(InputError, match=r"unknown suffix; allowed: \.png, \.svg"):
        reports.export_monitored({"one": record(False)}, tmp_path / "figure.gif")
