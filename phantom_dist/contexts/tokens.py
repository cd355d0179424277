"""A context as token ids: prompt, target and competitor.

The prompt is encoded with the tokenizer's default special tokens (those after the text are left off, see `reading`)
and no chat template. The target is the tokens, usually one, by which encode(text + target) extends encode(text); so is
the competitor. This folder's README.md lists what is refused.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence

from phantom_dist.contexts.reading import EncodedText, Reader, Tokenizer, Unreadable
from phantom_dist.core.errors import Refusal
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.tokens import Tokens
from phantom_dist.core.trial import Context

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
        Refusal: `refused_tokens` where a word of the prompt is unknown, target or competitor doesn't extend it by known
            tokens, one of them begins with the other, or the model has no row for a token.
        ValueError: the competitor is `auto` and no id is passed, or the other way round.
    """
    if (context.competitor == AUTO) != (competitor is not None):
        raise ValueError(f"context {context.id!r}: a competitor's id is needed for `auto`, and only then")
    reader = Reader(tokenizer, rows)
    prompt = _prompt(reader, context)
    target = _continuation(reader, context, "target", context.target, prompt)
    if competitor is None:
        other = _continuation(reader, context, "competitor", context.competitor, prompt)
    else:
        other = (competitor,)
    shared = next((k for k, (t, c) in enumerate(zip(target, other, strict=False)) if t != c), None)
    if shared is None:
        why = f"are the same token{'s' * (len(target) > 1)} ({context.target!r})"
        if target != other:
            why = f"begin alike, and one ends there ({context.target!r}, {context.competitor!r})"
        raise _refused(context, f"target and competitor {why}")
    return Tokens(
        prompt=prompt.ids,
        target=target[shared],
        competitor=other[shared],
        target_text=reader.text_of(prompt.ids, *target),
        competitor_text=reader.text_of(prompt.ids, *other),
        shared=target[:shared],
        target_rest=target[shared + 1 :],
        competitor_rest=other[shared + 1 :],
    )


def prompts_and_target(
    tokenizer: Tokenizer, context: Context, *, rows: int | None = None
) -> tuple[tuple[tuple[int, ...], ...], int]:
    """`Tokens.prompts` of a context, and the target's token where the words differ first.

    For an `auto` competitor, which is chosen from the logits after the first of these prompts, that is the text's own
    tokens, and the target.

    Raises:
        Refusal: as `tokenise`, or the competitor is `auto` and the target several tokens.
    """
    if context.competitor != AUTO:
        tokens = tokenise(tokenizer, context, rows=rows)
        return tokens.prompts, tokens.target
    prompt, target = _prompt_and_target(Reader(tokenizer, rows), context)
    return (prompt.ids,), target


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
    """The prompt, and the one token of the target.

    Raises:
        Refusal: as `_prompt` and `_continuation`, or the target is several tokens.
    """
    prompt = _prompt(reader, context)
    target, *rest = _continuation(reader, context, "target", context.target, prompt)
    if rest:
        pieces = _pieces(reader, prompt, (target, *rest))
        raise _refused(
            context,
            f"the target {context.target!r} is {len(pieces)} tokens: {pieces}; `auto` finds competitors of single "
            "tokens only: name the competitor",
        )
    return prompt, target


def _prompt(reader: Reader, context: Context) -> EncodedText:
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
    return prompt


def _continuation(
    reader: Reader, context: Context, role: str, word: str, prompt: EncodedText
) -> tuple[int, ...]:
    """The tokens of a word after the prompt.

    Raises:
        Refusal: it doesn't extend the prompt, is unknown, lacks its space, or a token has no row in the model.
    """
    tokens = _added(reader, context.text, word, prompt)
    hint = None if len(tokens) == 1 else _space_hint(reader, context, word, len(tokens))
    if tokens and hint is None:
        for token in tokens:
            if not reader.has_row(token):
                raise _refused(context, f"the {role} {word!r} is {_no_row_message(reader, token)}")
        return tokens
    why, remedy = _why_not(reader, context, word, prompt)
    raise _refused(context, f"the {role} {word!r} {why}; {hint or remedy}")


def _added(reader: Reader, text: str, word: str, prompt: EncodedText) -> tuple[int, ...]:
    """The known tokens by which a word extends the prompt; none if it doesn't."""
    if reader.unknown_word(text + word) is not None:
        return ()
    try:
        return prompt.extended_by(reader.read(text + word))
    except Unreadable:
        return ()


def _one_token(reader: Reader, text: str, word: str, prompt: EncodedText) -> int | None:
    """The single known token by which a word extends the prompt; None if it doesn't."""
    tokens = _added(reader, text, word, prompt)
    return tokens[0] if len(tokens) == 1 else None


def _pieces(reader: Reader, prompt: EncodedText, tokens: Sequence[int]) -> list[str]:
    """The text of each token after the prompt and the earlier ones."""
    return [reader.text_of((*prompt.ids, *tokens[:place]), token) for place, token in enumerate(tokens)]


def _why_not(reader: Reader, context: Context, word: str, prompt: EncodedText) -> tuple[str, str]:
    """Why a word doesn't extend the prompt as it should, and what to write instead."""
    if reader.unknown_word(context.text + word) is not None:
        return "is not in the tokenizer's vocabulary", "choose a word that is"
    try:
        tokens = prompt.extended_by(reader.read(context.text + word))
    except Unreadable as error:
        return f"can't be read ({error})", "choose another word"
    if tokens:
        return f"is {len(tokens)} tokens: {_pieces(reader, prompt, tokens)}", "choose another word"
    return "changes how the prompt's end is split", "it must extend the prompt"


def _space_hint(reader: Reader, context: Context, word: str, count: int) -> str | None:
    """What to write instead, if only the space between text and word is wrong.

    `count`: the word's tokens as it is written, 0 where it doesn't extend the prompt. It is taken to lack its space
    where it needs fewer tokens with it, or as many and begins with a letter of a script with capitals; not after an
    opening bracket or quote, or a dash.
    """
    text, spaced = context.text.rstrip(), f" {word.strip()}"
    if (text, spaced) == (context.text, word) or not text or reader.unknown_word(text) is not None:
        return None
    if count and (unicodedata.category(context.text[-1]) in ("Ps", "Pi", "Pd") or context.text[-1] in "\"'/"):
        return None
    try:
        needed = len(_added(reader, text, spaced, reader.read(text)))
    except Unreadable:
        return None
    has_capitals = unicodedata.category(spaced[1:2] or " ") in ("Lu", "Ll")
    if not needed or (count and needed > count) or (needed == count and not has_capitals):
        return None
    if text == context.text:
        if needed == count:
            return f"its leading space is missing: write {spaced!r}"
        size = "one token" if needed == 1 else f"{needed} tokens"
        return f"with its leading space it is {size}: write {spaced!r}"
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
