"""A record is split at line feeds alone, and stays readable after a training was killed while writing it."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from phantom_dist.core.errors import InputError
from phantom_dist.traces.monitor_log import FORMAT, append, open_monitor_log

START = {"row": "start", "format": FORMAT, "step": 0, "resumed": False, "contexts": []}
LINE_ENDS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
TEXTS = st.text(st.sampled_from(LINE_ENDS) | st.characters() | st.characters(categories=["Cs"]))


@given(st.lists(TEXTS, min_size=1, max_size=4))
@example(list(LINE_ENDS))
@example(["\ud800", "a\ud83d"])  # halves of a surrogate, as pieces of a character are decoded
def test_any_text_comes_back(tmp_path_factory, texts):
    path = tmp_path_factory.mktemp("record") / "r.jsonl"
    rows = [{"row": "look", "step": i, "context": text} for i, text in enumerate(texts)]
    append(path, [START | {"contexts": texts}])
    append(path, rows)
    record = open_monitor_log(path)
    assert record.start["contexts"] == texts
    assert record.looks == rows
    assert path.read_bytes().count(b"\n") == 1 + len(rows)
    path.read_bytes().decode("utf-8")


@pytest.mark.parametrize("kept", range(1, 40, 3))
def test_a_cut_line_and_a_resumption_after_it(tmp_path, kept):
    path = tmp_path / "r.jsonl"
    append(path, [START, {"row": "look", "step": 1, "context": "a"}])
    whole = path.read_bytes()
    cut = json.dumps({"row": "look", "step": 2, "context": "a\u2028b" * 9}, ensure_ascii=False).encode()
    path.write_bytes(whole + cut[:kept])
    assert [row["step"] for row in open_monitor_log(path).looks] == [1]
    append(path, [START | {"step": 1, "resumed": True}])
    append(path, [{"row": "look", "step": 2, "context": "a"}])
    assert [row["step"] for row in open_monitor_log(path).looks] == [1, 2]


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    path = tmp_path / "r.jsonl"
    look = {"row": "look", "step": 1, "context": "a"}
    append(path, [START, look])
    with open(path, "ab") as file:
        file.write(b"{damaged\n")
    append(path, [look | {"step": 2}])
    with pytest.raises(InputError, match="line 3: not a row of a monitor's record"):
        open_monitor_log(path)
