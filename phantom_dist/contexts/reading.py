"""How a tokenizer encodes text for a model: token ids, unknown words, and the text of a single token.

Special tokens before a text belong to the prompt; those after it are left off, because the next token takes their
place. A word is unknown where the tokenizer's model encodes it as its unknown token, drops a character of it, or fails.
A rare character that becomes bytes (byte fallback) is known.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

NONCHARACTER = "\U0010fffe"
"""A character that occurs in no text and no vocabulary; its encoding shows how a tokenizer encodes unknown text."""

VISIBLE = "LNPS"
"""Unicode categories (letters, numbers, punctuation, symbols) that a normaliser must not drop."""


class Tokenizer(Protocol):
    """The two methods of a Hugging Face tokenizer that are needed here."""

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Token ids, with the default special tokens or without any."""

    def decode(self, token_ids: list[int], *, clean_up_tokenization_spaces: bool = True) -> str:
        """The text of token ids."""


class Unreadable(Exception):
    """The tokenizer can't encode a text; the message says why."""


@dataclass(frozen=True, slots=True)
class EncodedText:
    """An encoded text: `ids` begin with `prefix_length` special tokens; `suffix` are those left off at the end."""

    ids: tuple[int, ...]
    prefix_length: int
    suffix: tuple[int, ...]

    @property
    def special(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The special tokens before and after the text."""
        return self.ids[: self.prefix_length], self.suffix

    def extended_by(self, longer: EncodedText) -> tuple[int, ...]:
        """The tokens that `longer` adds to this text; none where it is not this text plus more tokens."""
        size = len(self.ids)
        return longer.ids[size:] if longer.ids[:size] == self.ids and longer.special == self.special else ()


class Reader:
    """A tokenizer together with a model whose embedding and readout have `rows` rows (None: not checked).

    Encodings are not cached, because the tokenizer's owner may change it at any time.
    """

    def __init__(self, tokenizer: Tokenizer, rows: int | None = None) -> None:
        self.tokenizer: Any = tokenizer
        self.rows = rows
        self._unknown, self._drops = _unknown_token(tokenizer)

    def read(self, text: str) -> EncodedText:
        """Encode the text as the model gets it.

        Raises:
            Unreadable: the tokenizer fails, or special tokens change or interrupt the text's own tokens.
        """
        bare, whole = self.encode(text, special=False), self.encode(text, special=True)
        if whole == bare:
            return EncodedText(tuple(whole), 0, ())
        for front in range(len(whole) - len(bare), -1, -1):
            end = front + len(bare)
            if whole[front:end] == bare:
                return EncodedText(tuple(whole[:end]), front, tuple(whole[end:]))
        raise Unreadable(
            f"the tokenizer's special tokens don't only surround the tokens of {text!r}, but change them"
        )

    def unknown_word(self, text: str) -> str | None:
        """The first unknown word of a text, with its leading space; None where all words are known."""
        if self._knows(text):
            return None
        return next((word for word in re.findall(r"\s*\S+", text) if not self._knows(word)), text)

    def text_of(self, before: Sequence[int], *tokens: int) -> str:
        """The text that tokens add after those `before`: the difference of decoding with and without them.

        Where they add nothing, or change the text before them (half a character), this is their text alone.
        """
        shorter, longer = self._decode(before), self._decode([*before, *tokens])
        if len(longer) > len(shorter) and longer.startswith(shorter):
            return longer[len(shorter) :]
        return self._decode(tokens)

    def has_row(self, token: int) -> bool:
        """Whether the model has a row for a token."""
        return self.rows is None or token < self.rows

    def encode(self, text: str, *, special: bool) -> list[int]:
        """The tokenizer's token ids, with its default special tokens or without any.

        Raises:
            Unreadable: the tokenizer fails.
        """
        try:
            return list(self.tokenizer.encode(text, add_special_tokens=special))
        except Exception as error:  # tokenizers raises plain Exception
            why = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise Unreadable(f"the tokenizer can't read {text!r} ({why})") from None

    def _decode(self, ids: Sequence[int]) -> str:
        try:
            return str(self.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))
        except Exception:  # a tokenizer written in Python fails on ids that only pad the readout matrix
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
    """The unknown token that a tokenizer emits, with its text, and whether the tokenizer drops unknown text.

    A fast tokenizer's model is tested with an unknown character, because `unk_token` often names a token that it never
    emits (GPT-2's <|endoftext|>).
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        token = getattr(tokenizer, "unk_token_id", None)
        return (None if token is None else (int(token), str(tokenizer.unk_token))), False
    try:
        pieces = backend.model.tokenize(NONCHARACTER)
    except Exception:  # it has no unknown token and fails on unknown text
        return None, False
    if len(pieces) == 1:
        return (pieces[0].id, backend.id_to_token(pieces[0].id)), False
    return None, not pieces
