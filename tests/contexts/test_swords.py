"""The converter for SWORDS' public format, on a file of that format with sentences of our own."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from phantom_dist.contexts import swords
from phantom_dist.core.errors import InputError
from phantom_dist.spec import load_contexts

TEXT = "The   old man\n\twas very glad to see\tus"


def entry(
    word: str = "glad",
    lemma: str | None = None,
    text: str = TEXT,
    substitutes: dict[str, float] | None = None,
) -> dict[str, Any]:
    """A file with one target word; `substitutes`: the share of ten annotators who accept each."""
    accepted = (
        {"happy": 0.9, "joyful": 0.9, "rather pleased": 1.0, "sad": 0.1}
        if substitutes is None
        else substitutes
    )
    return {
        "contexts": {"c:1": {"context": text, "extra": {}}},
        "targets": {
            "t:0123456789abcdef": {
                "context_id": "c:1",
                "target": word,
                "offset": text.index(word),
                "pos": "ADJ",
                "extra": {"coinco_lemma": lemma or word},
            }
        },
        "substitutes": {
            f"s:{i}": {"target_id": "t:0123456789abcdef", "substitute": name}
            for i, name in enumerate(accepted)
        },
        "substitute_labels": {
            f"s:{i}": ["TRUE"] * round(10 * share) + ["FALSE"] * (10 - round(10 * share))
            for i, share in enumerate(accepted.values())
        },
    }


def contexts(path: Path, content: object) -> list[Any]:
    path.write_bytes(gzip.compress(json.dumps(content).encode()))
    return swords.swords_contexts(path)


def test_the_best_single_word_stands_against_the_written_one(tmp_path: Path) -> None:
    (context,) = contexts(tmp_path / "dev.json.gz", entry())
    assert (context.id, context.text) == ("01234567", "The old man was very")
    assert (context.target, context.competitor, context.either) == (" happy", " glad", True)


def test_every_pair_has_its_part_of_speech(tmp_path: Path) -> None:
    (context,) = contexts(tmp_path / "dev.json.gz", entry())
    assert swords.parts_of_speech(tmp_path / "dev.json.gz") == {context.id: "ADJ"}


@pytest.mark.parametrize(
    "changed",
    [
        {"lemma": "gladden"},
        {"substitutes": {"sad": 0.4}},
        {"substitutes": {"glad": 1.0, "well-off": 0.9}},
        {"text": "A very glad man"},
        {"text": 'The old man said a certain "glad" word'},
    ],
    ids=["inflected", "not accepted", "no other word", "too little text", "no space before"],
)
def test_what_makes_no_pair_is_left_out(tmp_path: Path, changed: dict[str, Any]) -> None:
    assert contexts(tmp_path / "dev.json.gz", entry(**changed)) == []


def test_only_the_last_words_of_a_long_text_are_kept(tmp_path: Path) -> None:
    text = " ".join(f"w{n}" for n in range(60)) + " glad"
    (context,) = contexts(tmp_path / "dev.json.gz", entry(text=text))
    assert context.text.split() == [f"w{n}" for n in range(20, 60)]


def test_the_printed_file_is_a_contexts_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = tmp_path / "dev.json"
    plain.write_text(json.dumps(entry()))
    swords.main([str(plain)])
    (tmp_path / "contexts.yaml").write_text(capsys.readouterr().out)
    assert load_contexts(tmp_path / "contexts.yaml") == tuple(swords.swords_contexts(plain))


@pytest.mark.parametrize("content", [{}, [], {"targets": 1}, "text"])
def test_another_file_is_told_apart(tmp_path: Path, content: object) -> None:
    with pytest.raises(InputError, match="no file in the format of SWORDS"):
        contexts(tmp_path / "other.json", content)
    (tmp_path / "cut.json.gz").write_bytes(gzip.compress(json.dumps(entry()).encode())[:-20])
    with pytest.raises(InputError, match="no file in the format of SWORDS"):
        swords.swords_contexts(tmp_path / "cut.json.gz")
    with pytest.raises(InputError, match="no file in the format of SWORDS"):
        swords.swords_contexts(tmp_path / "missing.json")
