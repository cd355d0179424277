"""A context as token ids: prompt, target and competitor.

The prompt is encoded with the tokenizer's default special tokens (those after the text are left off, see `reading`)
and no chat template. The target is the one token by which encode(text + target) extends encode(text); so is the
competitor. This folder's README.md lists what is refused.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence

from phantom_dist.contexts.reading import EncodedText, Reader, Tokenizer, Unreadable
from phantom_dist.core.errors import Refusal
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.trial import Context, Tokens

AUTO = "auto"


def tokenise(
    tokenizer: Tokenizer, context: Context, competitor: int | None = None, *, rows: int | None = None
) -> Tokens:
    """The context's tokens.

    Args:
        tokenizer: the model's tokenizer.
        context: the context.
        competitor: the token id chosen for `auto`; None for a context that names its competitor.
        rows: rows of the model's embedding or readout, whichever has fewer; None where the model is unknown.

    Raises:
        Refusal: `refused_tokens` where a word of the prompt is unknown, target or competitor is not exactly one known
            token, both are the same, or the model has no row for a token.
        ValueError: the competitor is `auto` and no id is passed, or the other way round.
    """
    if (context.competitor == AUTO) != (competitor is not None):
        raise ValueError(f"context {context.id!r}: a competitor's id is needed for `auto`, and only then")
    reader = Reader(tokenizer, rows)
    prompt, target = _prompt_and_target(reader, context)
    if competitor is None:
        competitor = _continuation(reader, context, "competitor", context.competitor, prompt)
    if competitor == target:
        raise _refused(context, f"target and competitor are the same token ({context.target!r})")
    return Tokens(
        prompt=prompt.ids,
        target=target,
        competitor=competitor,
        target_text=reader.text_of(prompt.ids, target),
        competitor_text=reader.text_of(prompt.ids, competitor),
    )


def prompt_and_target(
    tokenizer: Tokenizer, context: Context, *, rows: int | None = None
) -> tuple[tuple[int, ...], int]:
    """Token ids of the prompt, and the target's id: the input for choosing an `auto` competitor.

    Raises:
        Refusal: as `tokenise`, without the checks of the competitor.
    """
    prompt, target = _prompt_and_target(Reader(tokenizer, rows), context)
    return prompt.ids, target


def token_text(tokenizer: Tokenizer, before: Sequence[int], token: int) -> str:
    """The text that a token adds after others, with its space (see `reading.Reader.text_of`)."""
    return Reader(tokenizer).text_of(before, token)


def competitor_filter(
    tokenizer: Tokenizer, context: Context, *, rows: int | None = None
) -> Callable[[int], bool]:
    """A predicate for tokens that may be the `auto` competitor of the target.

    Such a token is a word (`is_word`), begins with a space if the target does, is not the target in other case, and
    extends the prompt as one token.

    Raises:
        Refusal: as `prompt_and_target`.
    """
    reader = Reader(tokenizer, rows)
    prompt, target = _prompt_and_target(reader, context)
    target_text = reader.text_of(prompt.ids, target)
    same = {target_text.strip().casefold(), context.target.strip().casefold()}

    def is_competitor(token: int) -> bool:
        text = reader.text_of(prompt.ids, token)
        word = text.strip()
        return (
            is_word(word)
            and text[0].isspace() == target_text[:1].isspace()
            and word.casefold() not in same
            and reader.has_row(token)
            and _one_token(reader, context.text, text, prompt) == token
        )

    return is_competitor


def is_word(text: str) -> bool:
    """Whether a text is a word: letters with their marks (Unicode's L and M), in any script.

    A single letter counts as a word only in scripts without capitals: a Chinese character does, a Latin letter doesn't.
    """
    kinds = [unicodedata.category(letter) for letter in text]
    if not all(kind[0] in "LM" for kind in kinds):
        return False
    letters = [kind for kind in kinds if kind[0] == "L"]
    return len(letters) >= 2 or letters == ["Lo"]


def _prompt_and_target(reader: Reader, context: Context) -> tuple[EncodedText, int]:
    text = context.text
    if reader.unknown_word(text) is not None:
        raise _refused(context, f"the text {_unknown_message(reader, text)}")
    try:
        prompt = reader.read(text)
    except Unreadable as error:
        raise _refused(context, str(error)) from None
    if not prompt.ids:
        raise _refused(context, f"the tokenizer gives no tokens for the text {text!r}")
    for token in prompt.ids:
        if not reader.has_row(token):
            raise _refused(context, f"the text holds {_no_row_message(reader, token)}")
    return prompt, _continuation(reader, context, "target", context.target, prompt)


def _continuation(reader: Reader, context: Context, role: str, word: str, prompt: EncodedText) -> int:
    """The token of a word after the prompt.

    Raises:
        Refusal: it isn't one token, is unknown, or has no row in the model.
    """
    token = _one_token(reader, context.text, word, prompt)
    if token is not None:
        if not reader.has_row(token):
            raise _refused(context, f"the {role} {word!r} is {_no_row_message(reader, token)}")
        return token
    why, remedy = _why_not(reader, context, word, prompt)
    raise _refused(context, f"the {role} {word!r} {why}; {_space_hint(reader, context, word) or remedy}")


def _one_token(reader: Reader, text: str, word: str, prompt: EncodedText) -> int | None:
    """The single known token by which a word extends the prompt; None if it doesn't."""
    if reader.unknown_word(text + word) is not None:
        return None
    try:
        whole = reader.read(text + word)
    except Unreadable:
        return None
    return whole.ids[-1] if prompt.extended_by_one(whole) else None


def _why_not(reader: Reader, context: Context, word: str, prompt: EncodedText) -> tuple[str, str]:
    """Why a word is not a single token after the prompt, and what to write instead."""
    if reader.unknown_word(context.text + word) is not None:
        return "is not in the tokenizer's vocabulary", "choose a word that is"
    try:
        whole = reader.read(context.text + word)
    except Unreadable as error:
        return f"can't be read ({error})", "choose another word"
    size = len(prompt.ids)
    if whole.ids[:size] == prompt.ids and whole.special == prompt.special:
        places = range(size, len(whole.ids))
        pieces = [reader.text_of(whole.ids[:place], whole.ids[place]) for place in places]
        return f"is {len(pieces)} tokens, not one: {pieces}", "choose a word that is one"
    return "changes how the prompt's end is split", "it must extend the prompt"


def _space_hint(reader: Reader, context: Context, word: str) -> str | None:
    """What to write instead, if only the space between text and word is wrong."""
    text, spaced = context.text.rstrip(), f" {word.strip()}"
    if (text, spaced) == (context.text, word) or not text or reader.unknown_word(text) is not None:
        return None
    try:
        fits = _one_token(reader, text, spaced, reader.read(text)) is not None
    except Unreadable:
        return None
    if not fits:
        return None
    if text == context.text:
        return f"with its leading space it is one token: write {spaced!r}"
    return f"the space belongs to the word: end the text without it and write {spaced!r}"


def _unknown_message(reader: Reader, text: str) -> str:
    ending = text[len(text.rstrip()) :]
    if ending and reader.unknown_word(text.rstrip()) is None:
        return (
            f"ends in {ending!r}, which is not in the tokenizer's vocabulary; a space belongs to the word that "
            "follows: end the text without it"
        )
    word = reader.unknown_word(text)
    named = "a word" if word in (None, text) else f"the word {word.strip()!r}"
    return f"holds {named} that is not in the tokenizer's vocabulary; choose words that are"


def _no_row_message(reader: Reader, token: int) -> str:
    return (
        f"token {token} ({reader.text_of((), token)!r}), for which the model has no row: it has {reader.rows}; resize "
        "its embeddings and train the new rows, or choose another word"
    )


def _refused(context: Context, why: str) -> Refusal:
    return Refusal(Outcome.REFUSED_TOKENS, f"context {context.id!r}: {why}")
