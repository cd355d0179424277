"""A tokenizer that can encode no context is refused once, with the property that prevents it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from phantom_dist import contexts
from phantom_dist.contexts import check_tokenizer
from phantom_dist.core.errors import InputError
from phantom_dist.models.load import load

from .tokenizer_kinds import byte_level, kinds, metaspace, word_level, wrapped, zoo_like


def one_word() -> Any:
    tokenizer = zoo_like()
    tokenizer.pre_tokenizer = None
    return wrapped(tokenizer)


def one_word_or_an_error() -> Any:
    tokenizer = word_level(unknown=False)
    tokenizer.pre_tokenizer = None
    return wrapped(tokenizer)


def without_spaces() -> Any:
    tokenizer = word_level()
    tokenizer.normalizer = normalizers.Replace(Regex(r"\s"), "")
    return wrapped(tokenizer, "BOS")


def dropout() -> Any:
    return wrapped(byte_level(dropout=0.1))


class Lots(PreTrainedTokenizerFast):
    """Random without a setting that says so."""

    turns = itertools.count()

    def encode(self, text: str, **how: Any) -> list[int]:
        return super().encode(text, **how)[next(self.turns) % 2 :]


def lots() -> Any:
    return Lots(tokenizer_object=byte_level())


class Backwards(PreTrainedTokenizerFast):
    """Puts the last word first."""

    def encode(self, text: str, **how: Any) -> list[int]:
        return super().encode(text, **how)[::-1]


def backwards() -> Any:
    return Backwards(tokenizer_object=byte_level())


def empty() -> Any:
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), eos_token="</s>")


def all_unknown() -> Any:
    tokenizer = word_level()
    tokenizer.normalizer = normalizers.Replace(Regex("^|(?<= )"), "x")
    return wrapped(tokenizer)


def capitals_only() -> Any:
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "GLAD": 1, "SAD": 2}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.normalizer = normalizers.Lowercase()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


def template(single: str) -> Any:
    tokenizer = word_level()
    tokenizer.post_processor = TemplateProcessing(single=single, special_tokens=[("<s>", 1), ("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


IMPOSSIBLE: dict[str, tuple[Callable[[], Any], str]] = {
    "the whole text is one word": (one_word, "does not split a text at its spaces"),
    "the whole text is one word, or an error": (one_word_or_an_error, "does not split a text at its spaces"),
    "spaces are taken out": (without_spaces, "does not split a text at its spaces"),
    "dropout": (dropout, r"splits words at random \(dropout 0.1\); set `dropout` to null"),
    "lots are drawn": (lots, "differently each time"),
    "the last word comes first": (backwards, "changes the tokens of a text with every word that follows"),
    "no vocabulary": (empty, "has no vocabulary, so it gives no tokens for any text"),
    "words are changed": (all_unknown, "knows no word, not even those of its vocabulary"),
    "capitals only, and small letters read": (
        capitals_only,
        "knows no word, not even those of its vocabulary",
    ),
    "a template without the text": (
        lambda: template("<s> </s>"),
        "doesn't put a text's tokens between its special",
    ),
    "a template with the text twice": (
        lambda: template("<s> $A $A"),
        "changes the tokens of a text with every word",
    ),
}


@pytest.mark.parametrize(("build", "message"), IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_a_property_is_named(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=rf"^model 'm': its tokenizer \(\w+\) .*{message}") as refused:
        check_tokenizer(build(), "m")
    assert "\n" not in str(refused.value)
    assert str(refused.value).count("; ") == 1, "what is wrong; what to do"


@pytest.mark.parametrize(
    ("template", "message"), [("BOS", r"puts token 6 \('<s>'\) before every text"), ("EOS", None)]
)
def test_a_special_token_in_front_needs_a_row(template: str, message: str | None) -> None:
    names = {"<unk>": 0, "the": 1, "dog": 2, "was": 3, "glad": 4, "sad": 5}
    tokenizer = Tokenizer(models.WordLevel(names | {"<s>": 6, "</s>": 7}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    with_rows = wrapped(tokenizer, template)
    check_tokenizer(with_rows, "m", rows=8)
    if message is None:
        check_tokenizer(with_rows, "m", rows=6)  # what stands behind a text is left off
        return
    with pytest.raises(InputError, match=message):
        check_tokenizer(with_rows, "m", rows=6)


@pytest.mark.parametrize("name", ["zoo:llama-b", "zoo:bloom-a"])
def test_the_zoo_can_be_read(name: str) -> None:
    check_tokenizer(load(name).tokenizer, name)


def test_letters_can_be_words() -> None:
    letters = Tokenizer(
        models.WordLevel({"<unk>": 0, **{c: i for i, c in enumerate("abc ", 1)}}, unk_token="<unk>")
    )
    letters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    check_tokenizer(PreTrainedTokenizerFast(tokenizer_object=letters), "m")


def test_padding_and_truncation_of_the_file_are_not_used() -> None:
    tokenizer = metaspace("BPE", "always", True, True, "own")
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=16)
    check_tokenizer(wrapped(tokenizer), "m")
    assert len(list(kinds())) > 70


def test_the_document_lists_all_messages() -> None:
    folder = Path(contexts.__file__).parent
    code = " ".join(
        re.sub(r'"\n\s+f?"', "", file.read_text(encoding="utf-8"))
        for file in [*folder.glob("*.py"), folder.parent / "models/tokenizer.py"]
    )
    tables = (folder / "README.md").read_text(encoding="utf-8").split("## What is refused")[1]
    phrases = [
        row[1] for row in re.findall(r"^\| (.+) \| (.+) \|$", tables, re.MULTILINE) if row[1] != "message"
    ]
    assert len(phrases) == 21
    lost = [phrase for phrase in phrases if any(part not in code for part in phrase.split("; "))]
    assert not lost
    for _, message in IMPOSSIBLE.values():
        plain = message.split(" \\(")[0]
        assert any(plain in phrase or phrase in plain for phrase in phrases), message
