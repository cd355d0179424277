"""YAML with line numbers: what is read, and the text of every complaint."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, TypeAdapter

from phantom_dist.core.errors import InputError
from phantom_dist.core.trial import Context
from phantom_dist.spec.yaml_lines import Document, check, parse, read, read_text

CONTEXTS = TypeAdapter(tuple[Context, ...])


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rate: float = 1.0
    count: int = 1


def complaint(text: str, model: object = Settings) -> str:
    with pytest.raises(InputError) as caught:
        check(model, read_text(text, source="x.yaml"))  # type: ignore[arg-type]
    return str(caught.value)


def test_numbers_are_those_of_yaml_1_2() -> None:
    assert read_text("[1e-6, 1.5E3, .inf, no, 0x10]", source="x").data == [
        1e-6,
        1500.0,
        float("inf"),
        "no",
        16,
    ]


def test_every_key_and_item_has_its_line() -> None:
    document = read_text("a: 1\nb:\n  - x\n  - {c: 2,\n     d: 3}\n", source="x")
    assert document.lines[("a",)] == 1
    assert document.lines[("b",)] == 2
    assert document.lines[("b", 0)] == 3
    assert document.lines[("b", 1, "c")] == 4
    assert document.lines[("b", 1, "d")] == 5


def test_reads_a_file(tmp_path: Path) -> None:
    path = tmp_path / "contexts.yaml"
    path.write_text('- {id: a, text: "He felt", target: " ill"}\n')
    (context,) = parse(CONTEXTS, path)
    assert context == Context(id="a", text="He felt", target=" ill", competitor="auto")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rate: 1\nrate: 2\n", "x.yaml:2: duplicate key 'rate'"),
        ("count: [1\nrate: 2\n", "x.yaml:2: is not valid YAML: expected ',' or ']', but got ':'"),
        ("rate: *other\n", "x.yaml:1: is not valid YAML: found undefined alias 'other'"),
        ("rate: &a [*a]\n", "x.yaml:1: is not valid YAML: found an alias that contains itself"),
        ("", "x.yaml: is empty"),
        ("# only a comment\n", "x.yaml: is empty"),
        (
            "rate: \x01",
            "x.yaml: is not valid YAML: unacceptable character #x0001: special characters are not allowed",
        ),
        ("rate: 1\n? [a, b]\n: 2", "x.yaml:2: is not valid YAML: a key should be a plain word"),
        ("2020-01-01: 2", "x.yaml: keys should be plain words, and nothing may contain itself"),
        ("3", "x.yaml:1: should be a mapping of keys to values; got 3"),
        ("\nrat: 2", "x.yaml:2: rat: unknown key. Did you mean 'rate'? Allowed: count, rate."),
        ("rate: 1\ncount: 2.5", "x.yaml:2: count: should be a valid integer; got 2.5"),
        ("count: true", "x.yaml:1: count: should be a valid integer; got True"),
        ("count: '8'", "x.yaml:1: count: should be a valid integer; got '8'"),
        ("count: 2020-01-01", "x.yaml:1: count: should be a valid integer; got '2020-01-01'"),
        ("1: 2", "x.yaml:1: 1: unknown key. Allowed: count, rate."),
    ],
)
def test_complaints(text: str, message: str) -> None:
    assert complaint(text) == message


def test_anchors_and_merged_keys_are_read() -> None:
    text = "- &a {id: a, text: x, target: y}\n- <<: *a\n  id: b\n- {<<: *a, id: c, txt: z}\n"
    first, second = check(CONTEXTS, read_text("".join(text.splitlines(keepends=True)[:3]), source="x"))
    assert (first.text, second.text, second.id) == ("x", "x", "b")
    assert complaint(text, CONTEXTS).startswith("x.yaml:4: [2].txt: unknown key")


def test_one_line_for_every_problem_in_the_order_of_the_file() -> None:
    text = "- {id: a, text: x, target: 3}\n- id: b\n  txt: x\n  target: ' y'\n- [1]\n"
    assert complaint(text, CONTEXTS).splitlines() == [
        "x.yaml:1: [0].target: should be a valid string; got 3",
        "x.yaml:2: [1].text: is missing",
        "x.yaml:3: [1].txt: unknown key. Did you mean 'text'? Allowed: competitor, either, held_out, id, target, text.",
        "x.yaml:5: [2]: should be a mapping of keys to values; got [1]",
    ]


def test_a_long_value_is_shortened() -> None:
    message = complaint(f"count: {'a' * 500}")
    assert message.endswith("…")
    assert len(message) < 200


def test_a_missing_file_a_directory_and_a_binary_file(tmp_path: Path) -> None:
    binary = tmp_path / "weights.yaml"
    binary.write_bytes(b"a: \xff\xfe")
    for path, message in [
        (tmp_path / "none.yaml", "no such file"),
        (tmp_path, "is a directory; a YAML file is needed"),
        (binary, "is not UTF-8 text (byte 3)"),
    ]:
        with pytest.raises(InputError) as caught:
            read(path)
        assert str(caught.value) == f"{path}: {message}"


def test_data_without_a_file_is_checked_without_lines() -> None:
    with pytest.raises(InputError) as caught:
        check(Settings, Document(data={"count": {"a": 1}, "rats": 1}, source="settings"))
    assert str(caught.value).splitlines() == [
        "settings: count: should be a valid integer; got {'a': 1}",
        "settings: rats: unknown key. Did you mean 'rate'? Allowed: count, rate.",
    ]
