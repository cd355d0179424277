"""Tokenizers of every kind, built from scratch, each with explicit rules for how its vocabulary names a word.

The language has a handful of words. Each is one token of every vocabulary, so what a text should become can be written
down by hand: the names of its words, in order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

WORDS = ("the", "dog", "was", "very", "glad", "happy", "sad", "fine", "cafe")
RARE = "ярость"
"""A word of which no vocabulary has a piece longer than a byte."""

UNKNOWN, FRONT, BEHIND = "<unk>", "<s>", "</s>"
SPECIAL = [UNKNOWN, FRONT, BEHIND]
SPACED = [" " + word for word in WORDS]
SENTENCES = [" ".join(WORDS), *WORDS, *SPACED] * 4
SPACE = "▁"


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of tokenizer.

    `first` and `later` give the vocabulary entry of a word at the start of a text and after a space; `rare` says how
    `RARE` is encoded: `unknown`, or `pieces` (bytes).
    """

    name: str
    build: Callable[[], Tokenizer]
    first: Callable[[str], str]
    later: Callable[[str], str]
    rare: str


def kinds() -> Iterator[Kind]:
    yield from _byte_level()
    yield from _sentencepiece()
    yield from _words()
    yield from _normalised()


# -- byte-level BPE ---------------------------------------------------------------------------------------------------


def _byte_level() -> Iterator[Kind]:
    for prefix in (False, True):
        yield Kind(
            name=f"byte-level BPE, prefix space {prefix}",
            build=lambda prefix=prefix: byte_level(prefix=prefix),
            first=(lambda word: f"Ġ{word}") if prefix else (lambda word: word),
            later=lambda word: f"Ġ{word}",
            rare="pieces",
        )


def byte_level(*, prefix: bool = False, dropout: float | None = None) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(dropout=dropout))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2000,
        special_tokens=SPECIAL,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    plain = Tokenizer(models.BPE())
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.train_from_iterator(SENTENCES, trainer)
    tokenizer.model = plain.model
    tokenizer.model.dropout = dropout
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


# -- SentencePiece ----------------------------------------------------------------------------------------------------


def _sentencepiece() -> Iterator[Kind]:
    for model in ("BPE", "Unigram"):
        for scheme in ("always", "first", "never"):
            for split in (True, False):
                for fallback in (True, False):
                    for decoder in ("own", "strip"):
                        yield Kind(
                            name=f"{model}, Metaspace {scheme}, split {split}, fallback {fallback}, decoder {decoder}",
                            build=lambda m=model, s=scheme, p=split, f=fallback, d=decoder: metaspace(
                                m, s, p, f, d
                            ),
                            first=(lambda word: word) if scheme == "never" else (lambda word: SPACE + word),
                            later=lambda word: SPACE + word,
                            rare="pieces" if fallback else "unknown",
                        )
        yield Kind(
            name=f"{model}, Prepend and Replace (Llama 2)",
            build=lambda m=model: prepended(m),
            first=lambda word: SPACE + word,
            later=lambda word: SPACE + word,
            rare="pieces",
        )

    for model, how in (("BPE", "dropped"), ("Unigram", "an error")):
        yield Kind(
            name=f"{model}, what is unknown is {how}",
            build=lambda m=model: metaspace(m, "always", True, False, "own", unknown=False),
            first=lambda word: SPACE + word,
            later=lambda word: SPACE + word,
            rare="unknown",
        )


def metaspace(
    model: str, scheme: str, split: bool, fallback: bool, decoder: str, *, unknown: bool = True
) -> Tokenizer:
    tokenizer = Tokenizer(piece_model(model, fallback, unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)
    own = decoders.Metaspace(prepend_scheme=scheme, split=split)
    back = [own] if decoder == "own" else stripping()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), *back] if fallback else back)
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def stripping() -> list[decoders.Decoder]:
    """A decoder that strips the leading space of any text."""
    return [decoders.Replace(SPACE, " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]


def prepended(model: str) -> Tokenizer:
    tokenizer = Tokenizer(piece_model(model, True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def piece_model(model: str, fallback: bool, unknown: bool = True) -> models.Model:
    """A model with every word as one piece (with and without its space), every letter, and bytes for byte fallback."""
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)] if fallback else []
    if model == "Unigram":
        words = [piece for word in WORDS for piece in (SPACE + word, word)]
        letters = sorted(set("".join(words)))
        scored = [(piece, 0.0) for piece in SPECIAL]
        scored += [(byte, -20.0) for byte in bytes_] + [(word, -3.0) for word in words]
        return models.Unigram(
            scored + [(letter, -12.0) for letter in letters], 0 if unknown else None, byte_fallback=fallback
        )
    plain = Tokenizer(models.BPE(unk_token=UNKNOWN if unknown else None))
    plain.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    trainer = trainers.BpeTrainer(vocab_size=2000, special_tokens=[*SPECIAL, *bytes_], show_progress=False)
    plain.train_from_iterator(SENTENCES, trainer)
    trained = plain.model
    trained.byte_fallback = fallback
    trained.fuse_unk = True
    return trained


# -- whole words ------------------------------------------------------------------------------------------------------


def _words() -> Iterator[Kind]:
    def bare(word: str) -> str:
        return word

    for unknown in (True, False):
        yield Kind(
            name=f"WordLevel, <unk> {unknown}",
            build=lambda u=unknown: word_level(unknown=u),
            first=bare,
            later=bare,
            rare="unknown",
        )
    yield Kind(
        name="WordLevel over bytes (the zoo)",
        build=zoo_like,
        first=bare,
        later=lambda word: f"Ġ{word}",
        rare="unknown",
    )
    yield Kind(name="WordPiece (BERT)", build=word_piece, first=bare, later=bare, rare="unknown")


def word_level(*, unknown: bool = True) -> Tokenizer:
    names = [*(SPECIAL if unknown else SPECIAL[1:]), *WORDS]
    vocabulary = {name: i for i, name in enumerate(names)}
    model = models.WordLevel(vocabulary, unk_token=UNKNOWN)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(SPECIAL if unknown else SPECIAL[1:])
    return tokenizer


def zoo_like() -> Tokenizer:
    names = [*SPECIAL, *WORDS, *(f"Ġ{word}" for word in WORDS)]
    tokenizer = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


def zoo_as_sentencepiece(tokenizer: Tokenizer) -> Tokenizer:
    """A zoo model's tokenizer with ▁ for a space, and a decoder that strips the space of a lone word."""
    vocabulary = {name.replace("Ġ", SPACE): i for name, i in tokenizer.get_vocab().items()}
    other = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    other.add_special_tokens([UNKNOWN, FRONT])
    other.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?\w+| ?[^\s\w]+"), "isolated"),
            pre_tokenizers.Metaspace(prepend_scheme="never", split=False),
        ]
    )
    other.decoder = decoders.Sequence(stripping())
    other.post_processor = tokenizer.post_processor
    return other


def word_piece() -> Tokenizer:
    letters = sorted(set("".join(WORDS)))
    names = [*SPECIAL, *WORDS, *letters, *(f"##{letter}" for letter in letters), "##ly"]
    model = models.WordPiece({name: i for i, name in enumerate(names)}, unk_token=UNKNOWN)
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    tokenizer.add_special_tokens(SPECIAL)
    return tokenizer


# -- normalisers ------------------------------------------------------------------------------------------------------

NORMALISERS = {
    "lower case": normalizers.Lowercase,
    "NFKC": normalizers.NFKC,
    "accents taken off": lambda: normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]),
}
WRITTEN = {"lower case": "GLAD", "NFKC": "ｇｌａｄ", "accents taken off": "glåd"}
"""Another spelling that each normaliser maps to `glad`."""


def _normalised() -> Iterator[Kind]:
    bases = [
        next(_byte_level()),
        *(
            kind
            for kind in _sentencepiece()
            if kind.name.endswith("always, split True, fallback False, decoder strip")
        ),
        *_words(),
    ]
    for base in bases:
        for name, normaliser in NORMALISERS.items():

            def build(
                base: Kind = base, normaliser: Callable[[], normalizers.Normalizer] = normaliser
            ) -> Tokenizer:
                tokenizer = base.build()
                tokenizer.normalizer = normaliser()
                return tokenizer

            yield Kind(
                name=f"{base.name}, {name}", build=build, first=base.first, later=base.later, rare=base.rare
            )


# -- what stands around the text --------------------------------------------------------------------------------------

TEMPLATES = {
    "nothing around": "$A",
    "BOS": f"{FRONT} $A",
    "EOS": f"$A {BEHIND}",
    "BOS and EOS": f"{FRONT} $A {BEHIND}",
}


def wrapped(tokenizer: Tokenizer, template: str = "nothing around", **more: str) -> PreTrainedTokenizerFast:
    single = TEMPLATES[template]
    ids = {name: tokenizer.token_to_id(name) for name in (FRONT, BEHIND)}
    tokenizer.post_processor = TemplateProcessing(
        single=single, pair=f"{single} $B", special_tokens=[(n, i) for n, i in ids.items() if n in single]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **more)
