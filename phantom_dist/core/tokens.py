"""A context as token ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from phantom_dist.core.frozen import Frozen

PairKind = Literal["single", "several"]


Part = Literal["shared", "target_rest", "competitor_rest"]
"""The fields of `Tokens` with a word's further tokens."""


@dataclass(frozen=True, slots=True)
class FurtherToken:
    """A token of a word beside the one at the first position where target and competitor differ.

    `part`: the field of `Tokens` that it belongs to; `prompt`: all tokens before it.
    """

    part: Part
    prompt: tuple[int, ...]
    token: int


class Tokens(Frozen):
    """A context's tokens for one model.

    `target` and `competitor` are the tokens at the first position where the two words differ. Most words are one token
    each and differ at once; others begin alike (`shared`) or go on (`target_rest`, `competitor_rest`).
    """

    LATER = ("shared", "target_rest", "competitor_rest")

    prompt: tuple[int, ...] = Field(
        min_length=1, description="token ids of the prompt, special tokens included"
    )
    target: int
    competitor: int
    target_text: str = Field(description="the decoded target word, with its leading space")
    competitor_text: str = Field(description="the decoded competitor word, with its leading space")
    shared: tuple[int, ...] = ()
    target_rest: tuple[int, ...] = ()
    competitor_rest: tuple[int, ...] = ()

    @property
    def ids(self) -> dict[str, object]:
        """Only the token ids: the part on which a trial depends."""
        return self.model_dump(mode="json", exclude={"target_text", "competitor_text"})

    @property
    def stem(self) -> tuple[int, ...]:
        """The tokens before the first position where the words differ."""
        return self.prompt + self.shared

    @property
    def pair_kind(self) -> PairKind:
        """Whether both words are single tokens."""
        return "several" if self.further else "single"

    @property
    def further(self) -> tuple[FurtherToken, ...]:
        """The tokens beside `target` and `competitor`, with all tokens before each; none for single tokens."""
        parts: tuple[tuple[Part, tuple[int, ...], tuple[int, ...]], ...] = (
            ("shared", self.prompt, self.shared),
            ("target_rest", (*self.stem, self.target), self.target_rest),
            ("competitor_rest", (*self.stem, self.competitor), self.competitor_rest),
        )
        return tuple(
            FurtherToken(part, before + tokens[:place], token)
            for part, before, tokens in parts
            for place, token in enumerate(tokens)
        )

    @property
    def prompts(self) -> tuple[tuple[int, ...], ...]:
        """What precedes `target` and `competitor`, then what precedes each further token."""
        return (self.stem, *(each.prompt for each in self.further))

    @property
    def exchanged(self) -> Tokens:
        """The same pair with the competitor as target."""
        return self.model_copy(
            update={
                "target": self.competitor,
                "competitor": self.target,
                "target_text": self.competitor_text,
                "competitor_text": self.target_text,
                "target_rest": self.competitor_rest,
                "competitor_rest": self.target_rest,
            }
        )

    @property
    def target_places(self) -> tuple[tuple[tuple[int, ...], int], ...]:
        """Each token of the target word, and all tokens before it: their losses add up to the word's."""
        further = ((f.prompt, f.token) for f in self.further if f.part != "competitor_rest")
        return ((self.stem, self.target), *further)
