"""How many tokens a model's tokenizer makes of texts, without loading the model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tokenizers import Tokenizer

GUESS = 1.5
"""Tokens of a word, where no tokenizer is at hand: English has 1.2 to 1.4 with most of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenCounts:
    """Tokens of texts and words; counted where the model's tokenizer is on this machine, else guessed from words.

    Attributes:
        of_texts: tokens of each counted text, special ones included.
        per_word: mean tokens of a word.
    """

    of_texts: Mapping[str, int] = field(default_factory=dict)
    per_word: float = GUESS

    @property
    def are_counted(self) -> bool:
        """Whether a tokenizer has counted them."""
        return bool(self.of_texts)

    def text(self, text: str) -> int:
        """Tokens of a text."""
        return self.of_texts.get(text) or self.words(len(text.split()))

    def words(self, words: float) -> int:
        """Tokens of a text of so many words."""
        return math.ceil(self.per_word * words) + 1


def count_tokens(tokenizer: Path | None, texts: Iterable[str]) -> TokenCounts:
    """Count the tokens of texts.

    Args:
        tokenizer: a tokenizer.json; None where there is none.
        texts: what to count.
    """
    texts = sorted(set(texts))
    if tokenizer is None or not texts:
        return TokenCounts()
    try:
        loaded = Tokenizer.from_file(str(tokenizer))
        loaded.no_truncation()
        encoded = loaded.encode_batch_fast(texts)
    except Exception:  # damaged, or of a kind that this version doesn't know; loading the model tells
        return TokenCounts()
    counts = {text: len(encoding) for text, encoding in zip(texts, encoded, strict=True)}
    words = sum(len(text.split()) for text in texts)
    return TokenCounts(of_texts=counts, per_word=sum(counts.values()) / max(1, words))
