"""How a tokenizer reads a text for a model: token ids, the words that it doesn't know, and a token's own text.

Special tokens that the tokenizer puts in front of a text belong to the prompt; those that it puts behind are left off,
for the next token comes in their place. A word is unknown where the tokenizer's model puts its unknown token in the
word's place, drops a character of it, or fails; bytes that stand for a rare character (byte fallback) are known.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

NONCHARACTER = "\U0010fffe"
"""Stands in no text and no vocabulary, so what a tokenizer's model makes of it is what it makes of the unknown."""

VISIBLE = "LNPS"
"""Unicode categories (letters, numbers, punctuation, symbols) that no normaliser takes away unseen."""


class Tokenizer(Protocol):
    """The two methods that a Hugging Face tokenizer must have here."""

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Token ids, with the default special tokens or with none."""

    def decode(self, token_ids: list[int], *, clean_up_tokenization_spaces: bool = True) -> str:
        """The text of token ids."""


class Unreadable(Exception):
    """A text that the tokenizer can't read; the message says why."""


@dataclass(frozen=True, slots=True)
class Read:
    """A text in token ids: `ids` with the special tokens in front, of which there are `front`; `behind` is left off."""

    ids: tuple[int, ...]
    front: int
    behind: tuple[int, ...]

    @property
    def special(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The special tokens in front and behind."""
        return self.ids[: self.front], self.behind

    def extended_by_one(self, longer: Read) -> bool:
        """Whether a longer text is this one and one token more."""
        return longer.ids[:-1] == self.ids and longer.special == self.special


class Reader:
    """A tokenizer beside a model whose embedding and readout have `rows` rows (None: not asked).

    Everything is asked of the tokenizer anew, for its owner may change it.
    """

    def __init__(self, tokenizer: Tokenizer, rows: int | None = None) -> None:
        self.tokenizer: Any = tokenizer
        self.rows = rows
        self._unknown, self._drops = _unknown_token(tokenizer)

    def read(self, text: str) -> Read:
        """The text as the model reads it.

        Raises:
            Unreadable: the tokenizer fails on it, or doesn't keep its tokens together.
        """
        bare, whole = self.encode(text, special=False), self.encode(text, special=True)
        if whole == bare:
            return Read(tuple(whole), 0, ())
        for front in range(len(whole) - len(bare), -1, -1):
            end = front + len(bare)
            if whole[front:end] == bare:
                return Read(tuple(whole[:end]), front, tuple(whole[end:]))
        raise Unreadable(
            f"the tokenizer's special tokens don't stand before and behind the tokens of {text!r}, but change them"
        )

    def unknown_word(self, text: str) -> str | None:
        """The first word of a text that the tokenizer doesn't know, as it stands there; None where it knows all."""
        if self._knows(text):
            return None
        return next((word for word in re.findall(r"\s*\S+", text) if not self._knows(word)), text)

    def text_of(self, before: Sequence[int], token: int) -> str:
        """A token's text behind other tokens: what decoding it with them adds to decoding them alone.

        Where that is nothing, or changes what stands before (half a character), the text of the token alone.
        """
        shorter, longer = self._decode(before), self._decode([*before, token])
        if len(longer) > len(shorter) and longer.startswith(shorter):
            return longer[len(shorter) :]
        return self._decode([token])

    def has_row(self, token: int) -> bool:
        """Whether the model has a row for a token."""
        return self.rows is None or token < self.rows

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Token ids as the tokenizer gives them, with its default special tokens or with none.

        Raises:
            Unreadable: the tokenizer fails on it.
        """
        try:
            return list(self.tokenizer.encode(text, add_special_tokens=special))
        except Exception as error:  # tokenizers raises Exception itself
            why = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise Unreadable(f"the tokenizer can't read {text!r} ({why})") from None

    def _decode(self, ids: Sequence[int]) -> str:
        try:
            return str(self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))
        except Exception:  # an id that pads the readout matrix, to a tokenizer written in Python
            return ""

    def _knows(self, text: str) -> bool:
        try:
            ids = self.encode(text, special=False)
        except Unreadable:
            return False
        if self._unknown is not None:
            token, written = self._unknown
            if ids.count(token) > text.count(written):
                return False
        return not (self._drops and self._dropped(text, ids))

    def _dropped(self, text: str, ids: list[int]) -> bool:
        spans = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        covered = {place for start, end in spans for place in range(start, end)}
        lost = (c for place, c in enumerate(text) if place not in covered)
        return any(unicodedata.category(c)[0] in VISIBLE for c in lost) or (
            "\ufffd" in self._decode(ids) and "\ufffd" not in text  # a byte of a character
        )


def _unknown_token(tokenizer: Any) -> tuple[tuple[int, str] | None, bool]:
    """The unknown token that a tokenizer writes, with its text, and whether it drops what it doesn't know.

    A fast tokenizer's model is asked: `unk_token` often names a token that it never writes (GPT-2's <|endoftext|>).
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        token = getattr(tokenizer, "unk_token_id", None)
        return (None if token is None else (int(token), str(tokenizer.unk_token))), False
    try:
        pieces = backend.model.tokenize(NONCHARACTER)
    except Exception:  # it has no unknown token, and fails
        return None, False
    if len(pieces) == 1:
        return (pieces[0].id, backend.id_to_token(pieces[0].id)), False
    return None, not pieces
