"""The monitor's record: rows that were written are read; other files are refused."""

from __future__ import annotations

import math

import pytest

from phantom_dist.core.errors import InputError, StoreError
from phantom_dist.traces.monitor_log import append, open_monitor_log

START = {"row": "start", "format": 1, "step": 0}


def look(step: int, **more: object) -> dict[str, object]:
    return {"row": "look", "context": "a", "step": step, **more}


def test_rows_come_back(tmp_path):
    path = tmp_path / "new" / "record.jsonl"
    append(path, [START])
    append(path, [look(0, drag=0.25), look(5, drag=math.nan)])
    append(path, [{"row": "warning", "step": 5}, {"row": "end", "step": 9}])
    record = open_monitor_log(path)
    assert [row["drag"] for row in record.looks] == [0.25, None]
    assert record.start == START
    assert len(record.warnings) == 1
    assert record.end == {"row": "end", "step": 9}


def test_steps_that_were_taken_again_count_once(tmp_path):
    path = tmp_path / "r"
    append(path, [START, look(0), look(5, n=1), look(10, n=1), {"row": "end", "step": 10}])
    append(path, [START | {"step": 5, "resumed": True}, look(10, n=2)])
    record = open_monitor_log(path)
    assert [(row["step"], row.get("n")) for row in record.looks] == [(0, None), (5, 1), (10, 2)]
    assert record.end is None


def test_another_training_in_the_same_place_counts_alone(tmp_path):
    path = tmp_path / "r"
    append(path, [START, look(0), look(5), {"row": "end", "step": 5}])
    append(path, [START | {"model": "other"}, look(0, n=2)])
    record = open_monitor_log(path)
    assert record.start["model"] == "other"
    assert [row.get("n") for row in record.looks] == [2]
    assert record.end is None


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    path = tmp_path / "r"
    append(path, [START, look(0)])
    path.write_text(path.read_text() + '{"row": "lo')
    assert len(open_monitor_log(path).looks) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "can't read the monitor's record"),
        ("", "an empty file is not a monitor's record"),
        ("hello\n", "line 1: not a row of a monitor's record"),
        ('{"row": "look", "step": 1}\n', "line 1: a monitor's record begins with a row `start`"),
        ('{"row": "start", "format": 9, "step": 0}\n', "format 9; this version reads up to 1"),
        ('{"row": "start", "format": 1, "step": 0}\n[]\n{"row": "end", "step": 1}\n', "line 2"),
    ],
)
def test_what_is_no_record_is_refused(tmp_path, text, message):
    path = tmp_path / "r"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message):
        open_monitor_log(path)


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="can't write the monitor's record"):
        append(tmp_path / "file" / "r", [START])
