"""Checks that a tokenizer can encode contexts at all; a failure is reported once for the model, not per context.

A context needs a text that the tokenizer encodes the same way every time, and words that extend it by one token. Texts
and words for the check come from the vocabulary: at least one of its words must extend another one.
"""

from __future__ import annotations

from itertools import islice
from typing import Any

from phantom_dist.contexts.reading import EncodedText, Reader, Tokenizer, Unreadable
from phantom_dist.core.errors import InputError

SAMPLE = 64
"""Number of tokens, evenly spread over the vocabulary, that are tried as words."""

TEXTS = 4
"""How many of these are tried as the text before the word."""

REPEATS = 8
"""How often a text is encoded to see whether its tokens are always the same."""


def check_tokenizer(tokenizer: Tokenizer, model: str, *, rows: int | None = None) -> None:
    """Check that a tokenizer can encode contexts; `model` is for messages, `rows` as for `tokens.tokenise`.

    Raises:
        InputError: it can't; the message names the property that prevents it.
    """
    if not hasattr(tokenizer, "__len__"):
        return  # no vocabulary to choose words from
    why = _sampling_reason(tokenizer) or _unusable_reason(Reader(tokenizer, rows))
    if why is not None:
        raise InputError(f"model {model!r}: its tokenizer ({type(tokenizer).__name__}) {why}")


def _sampling_reason(tokenizer: Any) -> str | None:
    """Why a tokenizer's own settings make it random (BPE with dropout, Unigram with sampling); None if they don't."""
    model = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    for setting in ("dropout", "alpha"):
        drawn = getattr(model, setting, None)
        if drawn:
            return f"splits words at random ({setting} {drawn:g}); set `{setting}` to null in tokenizer.json"
    return None


def _unusable_reason(reader: Reader) -> str | None:
    """Why no text and word of the vocabulary work together, and what to do; None if some do."""
    tokens = _sample(reader.tokenizer)
    alone = [text for token in tokens if (text := reader.text_of((), token)).strip()]
    texts = sorted(alone, key=lambda text: not text.strip().isalpha())  # words first
    if not texts:
        return "has no vocabulary, so it gives no tokens for any text; use the model's own tokenizer files"
    known = list(islice((text for text in texts if reader.unknown_word(text) is None), TEXTS))
    if not known:
        return "knows no word, not even those of its vocabulary; use the model's own tokenizer files"
    whole = "".join(known)
    if len({_ids(reader, whole) for _ in range(REPEATS)}) > 1:
        return f"encodes {whole!r} differently each time; use one that isn't random"
    reads = [
        (text, read) for text in known if (read := _read(reader, text)) and len(read.ids) > read.prefix_length
    ]
    if not reads:
        return "doesn't put a text's tokens between its special tokens; correct its post-processor"
    for token in (token for _, read in reads for token in read.special[0] if not reader.has_row(token)):
        return (
            f"puts token {token} ({reader.text_of((), token)!r}) before every text, for which the model has no row: it "
            f"has {reader.rows}; resize its embeddings and train the new row, or use the model's own tokenizer"
        )
    if any(_extended(reader, text, read, tokens) for text, read in reads):
        return None
    joined = f"{known[0].strip()} {known[-1].strip()}"
    if reader.unknown_word(joined) is not None:
        return f"does not split a text at its spaces ({joined!r} is one word); use one with a pre-tokenizer"
    return (
        "changes the tokens of a text with every word that follows, so none adds one token; use another one"
    )


def _sample(tokenizer: Any) -> list[int]:
    """Some tokens of the vocabulary; added tokens, which match in any text, only where there are no others."""
    size = len(tokenizer)
    spread = range(0, size, max(1, size // SAMPLE))
    special = set(getattr(tokenizer, "all_special_ids", ()))
    added = set(getattr(tokenizer, "added_tokens_decoder", ()))
    return [t for t in spread if t not in added | special] or [t for t in spread if t not in special]


def _extended(reader: Reader, text: str, read: EncodedText, tokens: list[int]) -> bool:
    """Whether some word of the vocabulary extends a text by one token that the text doesn't contain yet."""
    for token in tokens:
        for word in {reader.text_of(read.ids, token), reader.text_of((), token)} - {""}:
            longer = _read(reader, text + word)
            # with a token that is in the text already, the order of tokens couldn't be checked
            if longer is None or len(read.extended_by(longer)) != 1 or longer.ids[-1] in read.ids:
                continue
            if reader.unknown_word(text + word) is None:
                return True
    return False


def _read(reader: Reader, text: str) -> EncodedText | None:
    try:
        return reader.read(text)
    except Unreadable:
        return None


def _ids(reader: Reader, text: str) -> tuple[int, ...]:
    try:
        return tuple(reader.encode(text, special=True))
    except Unreadable:
        return ()
