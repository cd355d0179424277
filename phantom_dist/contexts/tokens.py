"""A context as a model reads it: token ids of the prompt, the target and the competitor.

The prompt is encoded with the tokenizer's default special tokens and no chat template. The target is the one token by
which encode(text + target) extends encode(text); so is the competitor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from phantom_dist.core.errors import Refusal
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.trial import Context, Tokens

AUTO = "auto"


class Tokenizer(Protocol):
    """The two methods that a Hugging Face tokenizer must have here."""

    def encode(self, text: str) -> list[int]:
        """Token ids with the default special tokens."""

    def decode(self, token_ids: list[int]) -> str:
        """The text of token ids."""


def tokenise(tokenizer: Tokenizer, context: Context, competitor: int | None = None) -> Tokens:
    """The context's tokens; `competitor` is the id that stands for `auto`, and is left out elsewhere.

    Raises:
        Refusal: `refused_tokens` where target or competitor is not one token, or both are the same.
        ValueError: the competitor is `auto` and no id is given, or the other way round.
    """
    if (context.competitor == AUTO) != (competitor is not None):
        raise ValueError(f"context {context.id!r}: a competitor's id is needed for `auto`, and only then")
    prompt, target = prompt_and_target(tokenizer, context)
    if competitor is None:
        competitor = _continuation(tokenizer, context, "competitor", context.competitor, prompt)
    if competitor == target:
        raise _refused(context, f"target and competitor are the same token ({context.target!r})")
    return Tokens(
        prompt=tuple(prompt),
        target=target,
        competitor=competitor,
        target_text=tokenizer.decode([target]),
        competitor_text=tokenizer.decode([competitor]),
    )


def prompt_and_target(tokenizer: Tokenizer, context: Context) -> tuple[tuple[int, ...], int]:
    """Token ids of the prompt and the id of the target: what is needed to find an `auto` competitor.

    Raises:
        Refusal: `refused_tokens` where the target is not one token, or the prompt is none.
    """
    prompt = tokenizer.encode(context.text)
    if not prompt:
        raise _refused(context, f"the tokenizer makes no token of the text {context.text!r}")
    return tuple(prompt), _continuation(tokenizer, context, "target", context.target, prompt)


def rival_test(tokenizer: Tokenizer, context: Context) -> Callable[[int], bool]:
    """Whether a token may stand as an `auto` competitor beside the target.

    It is a word of two letters or more, begins with a space if the target does, is not the target in another case,
    and extends the prompt as one token.
    """
    prompt = tokenizer.encode(context.text)
    target = context.target

    def admits(token: int) -> bool:
        text = tokenizer.decode([token])
        word = text.strip()
        return (
            len(word) >= 2
            and word.isalpha()
            and text[0].isspace() == target[0].isspace()
            and word.casefold() != target.strip().casefold()
            and tokenizer.encode(context.text + text) == [*prompt, token]
        )

    return admits


def _continuation(tokenizer: Tokenizer, context: Context, role: str, word: str, prompt: Sequence[int]) -> int:
    whole = tokenizer.encode(context.text + word)
    if len(whole) == len(prompt) + 1 and whole[:-1] == list(prompt):
        return whole[-1]
    if whole[: len(prompt)] == list(prompt):
        pieces = [tokenizer.decode([token]) for token in whole[len(prompt) :]]
        raise _refused(context, f"the {role} {word!r} is {len(pieces)} tokens, not one: {pieces}")
    raise _refused(
        context, f"the {role} {word!r} changes how the prompt's end is split; it must extend the prompt"
    )


def _refused(context: Context, why: str) -> Refusal:
    return Refusal(Outcome.REFUSED_TOKENS, f"context {context.id!r}: {why}")
