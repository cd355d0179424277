from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phantom_dist.contexts import competitor_filter, prompts_and_target, tokenise
from phantom_dist.contexts.tokens import is_word
from phantom_dist.core.errors import Refusal
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.trial import Context

WORDS = ["the", " dog", " was", " glad", " Glad", "glad", " happy", " hap", "py", " x", " 7", "!", "s", " s"]


class LongestMatch:
    """A tokenizer that always takes the longest piece; ids start at 1, 0 is the special token at the start."""

    def __init__(self, pieces: list[str], start: bool = True) -> None:
        self.pieces, self.start = pieces, start

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        ids = [0] if self.start and add_special_tokens else []
        while text:
            piece = max((p for p in self.pieces if text.startswith(p)), key=len, default=None)
            if piece is None:
                raise ValueError(f"no piece for {text!r}")
            ids.append(self.pieces.index(piece) + 1)
            text = text[len(piece) :]
        return ids

    def decode(self, token_ids: list[int], *, clean_up_tokenization_spaces: bool = True) -> str:
        return "".join(self.pieces[i - 1] if 0 < i <= len(self.pieces) else "" for i in token_ids)


TOKENIZER = LongestMatch(WORDS)


def id_of(word: str) -> int:
    return WORDS.index(word) + 1


def context(target: str = " glad", competitor: str = " happy", text: str = "the dog was") -> Context:
    return Context(id="dog", text=text, target=target, competitor=competitor)


def test_tokens_of_a_context() -> None:
    tokens = tokenise(TOKENIZER, context())
    assert tokens.prompt == (0, 1, 2, 3)
    assert (tokens.target, tokens.target_text) == (id_of(" glad"), " glad")
    assert (tokens.competitor, tokens.competitor_text) == (id_of(" happy"), " happy")


def test_prompt_and_target_need_no_competitor() -> None:
    assert prompts_and_target(TOKENIZER, context(competitor="auto")) == (((0, 1, 2, 3),), id_of(" glad"))


@pytest.mark.parametrize(
    ("target", "competitor", "expected"),
    [
        (" gladglad", " happy", ([], " glad", " happy", ["glad"], [])),
        (" gladglad", " happys s", ([], " glad", " happy", ["glad"], ["s", " s"])),
        (" gladglad", " glads", ([" glad"], "glad", "s", [], [])),
        (" glad x", " glad s", ([" glad"], " x", " s", [], [])),
        (" glads", " happys", ([], " glad", " happy", ["s"], ["s"])),
    ],
)
def test_words_of_several_tokens_part_where_they_differ_first(
    target: str, competitor: str, expected: tuple[list[str], str, str, list[str], list[str]]
) -> None:
    asked = context(target, competitor)
    tokens = tokenise(TOKENIZER, asked)
    shared, first, other, target_rest, competitor_rest = expected
    assert list(tokens.shared) == [id_of(piece) for piece in shared]
    assert (tokens.target, tokens.competitor) == (id_of(first), id_of(other))
    assert list(tokens.target_rest) == [id_of(piece) for piece in target_rest]
    assert list(tokens.competitor_rest) == [id_of(piece) for piece in competitor_rest]
    assert (tokens.target_text, tokens.competitor_text) == (target, competitor)
    prompts, token = prompts_and_target(TOKENIZER, asked)
    assert (prompts, token) == (tokens.prompts, tokens.target)
    assert prompts[0] == tokens.stem == tuple(TOKENIZER.encode(asked.text + "".join(shared)))


def test_auto_takes_the_token_that_it_is_given() -> None:
    tokens = tokenise(TOKENIZER, context(competitor="auto"), id_of(" happy"))
    assert tokens == tokenise(TOKENIZER, context())


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"competitor": " glad"}, r"context 'dog': target and competitor are the same token \(' glad'\)"),
        ({"target": " glads", "competitor": " glads"}, r"are the same tokens \(' glads'\)"),
        (
            {"competitor": " glads"},
            r"target and competitor begin alike, and one ends there \(' glad', ' glads'\)",
        ),
        ({"target": " glads", "competitor": " glad"}, r"begin alike, and one ends there"),
        ({"competitor": "happys"}, "with its leading space it is 2 tokens: write ' happys'"),
        (
            {"target": "gladglad"},
            r"is 2 tokens: \['glad', 'glad'\]; its leading space is missing: write ' gladglad'",
        ),
        ({"text": "the dog was ", "target": "glads"}, "a space belongs to the word that follows"),
        (
            {"text": "the dog was hap", "target": "py"},
            "the target 'py' changes how the prompt's end is split",
        ),
    ],
)
def test_refusals_name_context_and_word(bad: dict[str, str], message: str) -> None:
    with pytest.raises(Refusal, match=message) as refused:
        tokenise(TOKENIZER, context(**bad))
    assert refused.value.outcome is Outcome.REFUSED_TOKENS


def test_an_empty_prompt_is_refused() -> None:
    nothing = LongestMatch(WORDS, start=False)
    nothing.encode = lambda text, add_special_tokens=True: []  # type: ignore[method-assign]
    with pytest.raises(Refusal, match="the tokenizer gives no tokens for the text 'the dog was'"):
        tokenise(nothing, context())


def test_auto_given_as_the_target_is_refused() -> None:
    with pytest.raises(Refusal, match="the same token"):
        tokenise(TOKENIZER, context(competitor="auto"), id_of(" glad"))


@pytest.mark.parametrize(("competitor", "token"), [("auto", None), (" happy", 7)])
def test_an_id_belongs_to_auto_and_to_it_alone(competitor: str, token: int | None) -> None:
    with pytest.raises(ValueError, match="needed for `auto`, and only then"):
        tokenise(TOKENIZER, context(competitor=competitor), token)


def test_competitors_are_other_words_with_the_same_space() -> None:
    is_competitor = competitor_filter(TOKENIZER, context(competitor="auto"))
    admitted = {word for word in WORDS if is_competitor(id_of(word))}
    assert admitted == {" dog", " was", " happy", " hap"}
    assert not is_competitor(0), "a special token is no word"
    assert not is_competitor(len(WORDS) + 5), "nor is a row that pads the readout matrix"


def test_a_competitor_must_extend_the_prompt() -> None:
    # after " hap" the piece "py" is swallowed by " happy"
    text = "the dog was hap"
    assert not competitor_filter(TOKENIZER, context(target="s", text=text))(id_of("py"))
    assert competitor_filter(TOKENIZER, context(target="s", text=text))(id_of("glad"))


def _lacks_a_space(asked: Context) -> bool:
    try:
        tokenise(TOKENIZER, asked)
    except Refusal as refused:
        return "leading space" in refused.message
    return False


@given(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=6), st.sampled_from(WORDS), st.sampled_from(WORDS)
)
def test_what_is_accepted_extends_the_prompt(text: list[str], target: str, competitor: str) -> None:
    whole = "".join(text)
    prompt = TOKENIZER.encode(whole)
    extended = [TOKENIZER.encode(whole + word) for word in (target, competitor)]
    words = [ids[len(prompt) :] for ids in extended]
    size = min(map(len, words))
    differ = size and words[0][:size] != words[1][:size]
    fits = differ and all(ids[: len(prompt)] == prompt for ids in extended)
    if not fits or _lacks_a_space(context(target, competitor, whole)):
        with pytest.raises(Refusal):
            tokenise(TOKENIZER, context(target, competitor, whole))
        return
    tokens = tokenise(TOKENIZER, context(target, competitor, whole))
    assert list(tokens.prompt) == prompt
    assert [
        [*tokens.shared, tokens.target, *tokens.target_rest],
        [*tokens.shared, tokens.competitor, *tokens.competitor_rest],
    ] == words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("glad", True),
        ("déjà", True),
        ("ярость", True),
        ("गुस्सा", True),  # vowel signs are marks
        ("غَضَب", True),  # vocalised
        ("怒", True),
        ("a", False),
        ("я", False),
        ("́", False),  # a mark alone
        ("gl4d", False),
        ("##ly", False),
        ("can't", False),
        ("", False),
    ],
)
def test_a_word_is_letters_of_any_script_with_their_marks(text, expected):
    assert is_word(text) is expected
