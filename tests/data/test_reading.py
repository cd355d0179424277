"""Data files: every form and format gives the same examples; whatever is wrong is named with file and line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import datasets
import pytest

from phantom_dist.core.errors import InputError
from phantom_dist.core.trial import Context
from phantom_dist.data.reading import data_of_contexts, read_data

PAIRS = [{"prompt": f"say {n}", "completion": f" word {n}"} for n in range(5)]


def written(path: Path, rows: Sequence[object]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def test_the_same_examples_have_the_same_hash_in_every_format(tmp_path: Path) -> None:
    lines = read_data(written(tmp_path / "a.jsonl", PAIRS))
    rows = datasets.Dataset.from_list([{**row, "source": "x"} for row in PAIRS])
    rows.to_parquet(tmp_path / "a.parquet")
    rows.save_to_disk(tmp_path / "saved")
    for path in ("a.parquet", "saved"):
        other = read_data(tmp_path / path)
        assert (other.sha256, other.form, other.examples) == (lines.sha256, "prompt-completion", 5)
        assert list(other) == list(lines)
    reordered = read_data(written(tmp_path / "b.jsonl", PAIRS[::-1]))
    assert reordered.sha256 != lines.sha256


@pytest.mark.parametrize(
    ("row", "form"),
    [
        ({"text": "a b"}, "text"),
        ({"prompt": "a", "completion": " b", "id": 3}, "prompt-completion"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}, "messages"),
    ],
)
def test_forms(row: object, form: str, tmp_path: Path) -> None:
    data = read_data(written(tmp_path / "a.jsonl", [row, "", row]))
    assert (data.form, data.examples, data.empty) == (form, 2, 0)


def test_empty_examples_are_left_out_and_counted(tmp_path: Path) -> None:
    data = read_data(written(tmp_path / "a.jsonl", [*PAIRS, {"prompt": "x", "completion": "  "}]))
    assert (data.examples, data.empty) == (5, 1)
    assert data.sha256 == read_data(written(tmp_path / "b.jsonl", PAIRS)).sha256


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*PAIRS, "{broken"], "a.jsonl:6: the line is no JSON"),
        ([*PAIRS[:2], "", "[1]"], "a.jsonl:4: the line is no JSON object"),
        ([PAIRS[0], {"prompt": "x"}], "a.jsonl:2: the example has 'prompt' but no 'completion'"),
        ([PAIRS[0], {"completion": "x"}], "a.jsonl:2: the example has 'completion' but no 'prompt'"),
        ([{"txt": "x"}], "a.jsonl:1: the example has none of the fields that are read"),
        (
            [PAIRS[0], {"text": "x"}],
            "a.jsonl:2: the example has the form text, the examples before it prompt-comp",
        ),
        ([{"text": "x", **PAIRS[0]}], "a.jsonl:1: the example has the fields of several forms"),
        (
            [PAIRS[0], {"prompt": "x", "completion": 3}],
            "a.jsonl:2: the example 'completion' should be a string; got 3",
        ),
        ([{"messages": "hello"}], "a.jsonl:1: the example 'messages' should be a list"),
        (
            [{"messages": [{"role": "user"}]}],
            "a.jsonl:1: the example a message should have 'role' and 'content'",
        ),
        ([{"text": " "}, {"text": ""}], "a.jsonl:2: there is no usable example (2 are empty)"),
        ([], "a.jsonl: there is no usable example (0 are empty)"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(rows: Sequence[object], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_data(written(tmp_path / "a.jsonl", rows))
    assert str(caught.value).startswith(f"{tmp_path}/{message}")
    assert "\n" not in str(caught.value)


def test_files_that_are_no_data(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b")
    (tmp_path / "a.jsonl").write_bytes(b"\xff\xfe\n")
    (tmp_path / "a.parquet").write_bytes(b"no")
    (tmp_path / "folder").mkdir()
    for name, message in {
        "none.jsonl": "there is no data file",
        "a.csv": "data of this format can't be read",
        "a.jsonl": "is no UTF-8 text",
        "a.parquet": "the data can't be read",
        "folder": "the data can't be read",
    }.items():
        with pytest.raises(InputError, match=message):
            read_data(tmp_path / name)


def test_contexts_as_data_leave_out_those_held_out() -> None:
    contexts = [
        Context(id="a", text="He felt", target=" ill", competitor=" sick"),
        Context(id="b", text="She felt", target=" ill", competitor=" sick", held_out=True),
    ]
    assert [json.loads(text) for text in data_of_contexts(contexts)] == [
        {"prompt": "He felt", "completion": " ill"}
    ]
