"""Every kind of tokenizer gives the right tokens, or one error message.

The expected tokens are written by hand (the names of words in each vocabulary, `tokenizer_kinds`) or come from the
`tokenizers` library itself, without transformers and this package.
"""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer
from transformers import ByT5Tokenizer, EsmTokenizer

from phantom_dist.contexts import check_tokenizer, competitor_filter, prompts_and_target, tokenise
from phantom_dist.core.errors import Refusal
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.tokens import Tokens
from phantom_dist.core.trial import Context

from .tokenizer_kinds import (
    BEHIND,
    FRONT,
    RARE,
    SPECIAL,
    TEMPLATES,
    UNKNOWN,
    WORDS,
    WRITTEN,
    Kind,
    kinds,
    wrapped,
)

TEXT = "the dog was very"
KINDS = {kind.name: kind for kind in kinds()}
SOME = {
    name: kind for name, kind in KINDS.items() if "decoder own" not in name and "fallback True" not in name
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
every_template = pytest.mark.parametrize("template", TEMPLATES)


def context(target: str = " glad", competitor: str = " happy", text: str = TEXT) -> Context:
    return Context(id="dog", text=text, target=target, competitor=competitor)


@functools.cache
def serialised(name: str) -> str:
    return KINDS[name].build().to_str()


def raw(kind: Kind) -> Tokenizer:
    return Tokenizer.from_str(serialised(kind.name))


def by_hand(kind: Kind, vocabulary: dict[str, int], template: str) -> tuple[int, ...]:
    first, *later = TEXT.split()
    names = [kind.first(first), *(kind.later(word) for word in later)]
    return tuple(vocabulary[name] for name in ([FRONT] if template.startswith("BOS") else []) + names)


def extension(tokenizer: Tokenizer, text: str, word: str) -> int | None:
    """The one token by which a word extends a text."""
    tokens = continuation(tokenizer, text, word)
    return tokens[0] if tokens is not None and len(tokens) == 1 else None


def continuation(tokenizer: Tokenizer, text: str, word: str) -> list[int] | None:
    """The tokens by which a word extends a text according to the tokenizers library, without special tokens."""
    try:
        before, after = (tokenizer.encode(t, add_special_tokens=False) for t in (text, text + word))
    except Exception:
        return None
    if tokenizer.token_to_id(UNKNOWN) in after.ids or _lost(after, text + word):
        return None
    size = len(before.ids)
    return (after.ids[size:] or None) if size and after.ids[:size] == before.ids else None


def _lost(encoding: object, text: str) -> bool:
    covered = {place for start, end in encoding.offsets for place in range(start, end)}
    return any(not c.isspace() and place not in covered for place, c in enumerate(text))


def refusal(tokenizer: object, asked: Context, **more: int) -> str:
    with pytest.raises(Refusal) as refused:
        tokenise(tokenizer, asked, **more)
    assert refused.value.outcome is Outcome.REFUSED_TOKENS
    assert refused.value.message.startswith("context 'dog': ")
    assert "\n" not in refused.value.message
    return refused.value.message


@every_template
@every_kind
def test_the_tokens_are_those_written_by_hand(kind: Kind, template: str) -> None:
    tokenizer = wrapped(raw(kind), template)
    vocabulary = tokenizer.get_vocab()
    check_tokenizer(tokenizer, "it")
    tokens = tokenise(tokenizer, context())
    assert tokens.prompt == by_hand(kind, vocabulary, template)
    assert (tokens.target, tokens.competitor) == (
        vocabulary[kind.later("glad")],
        vocabulary[kind.later("happy")],
    )
    assert (tokens.target_text, tokens.competitor_text) == (" glad", " happy")
    for competitor in (context().competitor, "auto"):
        asked = context(competitor=competitor)
        assert prompts_and_target(tokenizer, asked) == ((tokens.prompt,), tokens.target)


@every_template
@every_kind
def test_competitors_are_words_behind_a_space(kind: Kind, template: str) -> None:
    library, tokenizer = raw(kind), wrapped(raw(kind), template)
    names = {i: name for name, i in library.get_vocab().items() if name not in SPECIAL}
    marker = kind.later("x")[:-1]
    words = {i: name[len(marker) :] for i, name in names.items() if name.startswith(marker)}
    right = {
        i
        for i, word in words.items()
        if len(word) > 1 and word.isalpha() and word != "glad" and extension(library, TEXT, f" {word}") == i
    }
    assert right >= {library.token_to_id(kind.later(word)) for word in WORDS if word != "glad"}
    is_competitor = competitor_filter(tokenizer, context(competitor="auto"))
    assert {token for token in range(len(tokenizer) + 16) if is_competitor(token)} == right
    assert tokenise(tokenizer, context(competitor="auto"), min(right)).competitor_text[0] == " "


@every_kind
def test_a_word_that_is_not_in_the_vocabulary(kind: Kind) -> None:
    tokenizer = wrapped(raw(kind), "BOS")
    in_text = context(text=f"the {RARE} was very")
    if kind.rare == "pieces":
        library = raw(kind)
        right = continuation(library, TEXT, f" {RARE}")
        assert right is not None
        assert len(right) > 1
        tokens = tokenise(tokenizer, context(f" {RARE}"))
        assert [*tokens.shared, tokens.target, *tokens.target_rest] == right
        assert library.decode(right).strip() == tokens.target_text.strip() == RARE
        other = tokenise(tokenizer, context(competitor=f" {RARE}"))
        assert [*other.shared, other.competitor, *other.competitor_rest] == right
        with pytest.raises(Refusal, match=f"is {len(right)} tokens"):
            prompts_and_target(tokenizer, context(f" {RARE}", "auto"))
        tokens = tokenise(tokenizer, in_text)
        assert tokenizer.decode(list(tokens.prompt)).endswith(in_text.text)
        return
    target = refusal(tokenizer, context(f" {RARE}"))
    assert f"the target ' {RARE}' is not in the tokenizer's vocabulary; choose a word that is" in target
    assert f"the competitor ' {RARE}' is not in the" in refusal(tokenizer, context(competitor=f" {RARE}"))
    assert f"the text holds the word '{RARE}' that is not in the" in refusal(tokenizer, in_text)
    assert not competitor_filter(tokenizer, context())(tokenizer.convert_tokens_to_ids(UNKNOWN) or 0)


@every_kind
@pytest.mark.parametrize(("text", "word"), [(TEXT, "glad"), (TEXT + " ", "glad"), (TEXT + " ", " glad")])
def test_a_space_in_the_wrong_place_is_pointed_at(kind: Kind, text: str, word: str) -> None:
    library, tokenizer = raw(kind), wrapped(raw(kind), "BOS and EOS")
    token = extension(library, text, word)
    if token is not None:
        assert tokenise(tokenizer, context(word, text=text)).target == token
        return
    message = refusal(tokenizer, context(word, text=text))
    assert "write ' glad'" in message or "end the text without it" in message


@every_kind
def test_more_tokens_than_rows(kind: Kind) -> None:
    tokenizer = wrapped(raw(kind), "BOS")
    tokens = tokenise(tokenizer, context())
    last = max(*tokens.prompt, tokens.target, tokens.competitor)
    assert tokenise(tokenizer, context(), rows=last + 1) == tokens
    message = refusal(tokenizer, context(), rows=last)
    assert f"token {last} ('" in message
    assert f"for which the model has no row: it has {last};" in message
    is_competitor = competitor_filter(
        tokenizer, context(competitor="auto"), rows=max(*tokens.prompt, tokens.target) + 1
    )
    assert not any(
        is_competitor(token) for token in range(max(*tokens.prompt, tokens.target) + 1, len(tokenizer))
    )


@pytest.mark.parametrize("rstrip", [False, True])
@pytest.mark.parametrize("lstrip", [False, True])
@pytest.mark.parametrize("special", [False, True])
@pytest.mark.parametrize("content", [" fury", "fury"])
@pytest.mark.parametrize("kind", SOME.values(), ids=SOME)
def test_added_tokens(kind: Kind, content: str, special: bool, lstrip: bool, rstrip: bool) -> None:
    library = raw(kind)
    size = library.get_vocab_size()
    add = library.add_special_tokens if special else library.add_tokens
    add([AddedToken(content, lstrip=lstrip, rstrip=rstrip, normalized=False)])
    right = extension(library, TEXT, " fury")
    if content == " fury" or lstrip:
        assert right == size, "the added token takes the space along"
    tokenizer = wrapped(Tokenizer.from_str(library.to_str()), "BOS and EOS")
    if right is None:
        several = continuation(library, TEXT, " fury")
        if several is None:
            refusal(tokenizer, context(" fury"))
        else:
            tokens = tokenise(tokenizer, context(" fury"))
            assert [*tokens.shared, tokens.target, *tokens.target_rest] == several
        return
    assert tokenise(tokenizer, context(" fury")).target == right
    assert f"is token {right} (" in refusal(tokenizer, context(" fury"), rows=size)
    assert f"is token {right} (" in refusal(tokenizer, context(competitor=" fury"), rows=size)
    message = refusal(tokenizer, context(text="the fury was"), rows=size)
    assert f"the text holds token {right} (" in message
    assert tokenise(tokenizer, context(), rows=size).target_text == " glad", "others go on"


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        pytest.param(kind, written, id=kind.name)
        for kind in KINDS.values()
        for normaliser, written in WRITTEN.items()
        if kind.name.endswith(normaliser)
    ],
)
def test_a_normaliser_decides_what_is_the_same_word(kind: Kind, written: str) -> None:
    tokenizer = wrapped(raw(kind), "EOS")
    assert tokenise(tokenizer, context(f" {written}")) == tokenise(tokenizer, context())
    assert "are the same token" in refusal(tokenizer, context(competitor=f" {written}"))


def test_bytes_read_in_python() -> None:
    tokenizer = ByT5Tokenizer()
    check_tokenizer(tokenizer, "it")
    tokens = tokenise(tokenizer, context("s", "d", "the dog wa"))
    assert tokens.prompt == tuple(byte + 3 for byte in b"the dog wa"), "the </s> behind it is left off"
    assert (tokens.target, tokens.competitor) == (ord("s") + 3, ord("d") + 3)
    assert (tokens.target_text, tokens.competitor_text) == ("s", "d")
    longer = tokenise(tokenizer, context())
    assert (longer.shared, longer.target) == ((ord(" ") + 3,), ord("g") + 3)
    assert bytes(token - 3 for token in longer.target_rest) == b"lad"
    assert (longer.target_text, longer.competitor_text) == (" glad", " happy")
    with pytest.raises(Refusal, match="is 5 tokens"):
        prompts_and_target(tokenizer, context(competitor="auto"))
    is_competitor = competitor_filter(tokenizer, context("s", "auto", "the dog wa"))
    assert not any(is_competitor(token) for token in range(400)), "no byte is a word of two letters"


def test_words_read_in_python(tmp_path: Path) -> None:
    names = ["<cls>", "<pad>", "<eos>", "<unk>", *WORDS, "<mask>"]
    (tmp_path / "vocab.txt").write_text("\n".join(names))
    tokenizer = EsmTokenizer(str(tmp_path / "vocab.txt"))
    check_tokenizer(tokenizer, "it")
    tokens = tokenise(tokenizer, context())
    assert tokens.prompt == tuple(names.index(name) for name in ["<cls>", *TEXT.split()])
    assert (tokens.target, tokens.competitor) == (names.index("glad"), names.index("happy"))
    assert (tokens.target_text, tokens.competitor_text) == (" glad", " happy")
    assert f"the target ' {RARE}' is not in" in refusal(tokenizer, context(f" {RARE}"))
    assert f"the word '{RARE}' that is not in" in refusal(tokenizer, context(text=f"the {RARE} was"))
    assert tokenise(tokenizer, context("glad")).target == names.index("glad"), "it splits words off anywhere"


def _tokens_or_message(tokenizer: object, asked: Context) -> tuple[Tokens | None, str]:
    try:
        return tokenise(tokenizer, asked), ""
    except Refusal as refused:
        return None, refused.message


def _begins(one: list[int], other: list[int]) -> bool:
    """Whether one of them begins with the other."""
    size = min(len(one), len(other))
    return one[:size] == other[:size]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(KINDS)),
    st.sampled_from(sorted(TEMPLATES)),
    st.lists(st.sampled_from([*WORDS, RARE, "x", "gl", "ad"]), min_size=1, max_size=5),
    st.sampled_from([" ", "  ", "", "."]),
    st.sampled_from(["", " ", "\n"]),
    st.sampled_from([*WORDS, RARE, "gla", "dog.", "fin"]),
    st.sampled_from(["", " "]),
)
def test_accepted_or_refused_as_the_library_reads_it(
    name: str, template: str, words: list[str], between: str, end: str, word: str, space: str
) -> None:
    library, text, target = raw(KINDS[name]), between.join(words) + end, space + word
    tokenizer = wrapped(raw(KINDS[name]), template)
    right = continuation(library, text, target)
    asked, other = context(target, text=text), continuation(library, text, context().competitor)
    begins = right is not None and other is not None and _begins(right, other)
    if right is None or other is None or begins:
        refusal(tokenizer, asked)
        return
    tokens, message = _tokens_or_message(tokenizer, asked)
    if tokens is None:  # a word of several tokens whose space is missing or stands in the text
        assert len(right) > 1 or len(other) > 1, message
        assert "space" in message
        return
    front = [library.token_to_id(FRONT)] if template.startswith("BOS") else []
    assert list(tokens.prompt) == front + library.encode(text, add_special_tokens=False).ids
    assert library.token_to_id(BEHIND) not in tokens.prompt
    assert [*tokens.shared, tokens.target, *tokens.target_rest] == right
    assert [*tokens.shared, tokens.competitor, *tokens.competitor_rest] == other
    assert tokens.target != tokens.competitor
    if len(right) == 1:
        assert prompts_and_target(tokenizer, context(target, "auto", text)) == (
            (tokens.prompt,),
            tokens.target,
        )
