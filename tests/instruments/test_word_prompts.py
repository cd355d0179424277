"""Words of several tokens: gap and loss against probabilities of whole words, in float64."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from phantom_dist.core.tokens import Tokens
from phantom_dist.instruments.word_prompts import WordPrompts, read_word, word_gap, word_loss

V = 5
"""Size of the vocabulary."""

ids = st.lists(st.integers(0, V - 1), max_size=2).map(tuple)


@st.composite
def pairs(draw: st.DrawFn) -> Tokens:
    target, competitor = draw(st.permutations(range(V)))[:2]
    return Tokens(
        prompt=(0, 1),
        target=target,
        competitor=competitor,
        target_text="t",
        competitor_text="c",
        shared=draw(ids),
        target_rest=draw(ids),
        competitor_rest=draw(ids),
    )


def logits_after(prompt: tuple[int, ...]) -> torch.Tensor:
    """A model: logits that depend on every token before."""
    return torch.randn(V, generator=torch.Generator().manual_seed(hash(prompt) % 2**31), dtype=torch.float64)


def probability(prompt: tuple[int, ...], word: tuple[int, ...]) -> float:
    """Of all ways to go on by as many tokens, this one's: from the table of all of them."""
    table = {
        way: float(
            torch.stack(
                [torch.softmax(logits_after(prompt + way[:k]), 0)[token] for k, token in enumerate(way)]
            ).prod()
        )
        for way in itertools.product(range(V), repeat=len(word))
    }
    assert sum(table.values()) == pytest.approx(1)
    return table[word]


@given(st.lists(pairs(), min_size=1, max_size=3))
def test_gap_and_loss_are_those_of_whole_words(words: list[Tokens]) -> None:
    prompts = WordPrompts(words)
    logits_PV = torch.stack([logits_after(prompt) for prompt in prompts.prompts])
    logits_WV, rests_W3 = prompts.split(torch.stack([logits_PV, logits_PV]))
    for number, word in enumerate(words):
        target = (*word.shared, word.target, *word.target_rest)
        competitor = (*word.shared, word.competitor, *word.competitor_rest)
        p_t, p_c = probability(word.prompt, target), probability(word.prompt, competitor)
        z_V = logits_WV[1, number]
        rests_3 = None if rests_W3 is None else rests_W3[1, number]
        token_loss = torch.logsumexp(z_V, 0) - z_V[word.target]
        assert float(word_loss(token_loss, rests_3)) == pytest.approx(-torch.tensor(p_t).log().item())
        gap = float(word_gap(z_V[word.target] - z_V[word.competitor], rests_3))
        assert gap == pytest.approx(torch.tensor(p_t / p_c).log().item(), abs=1e-6)


@given(pairs())
def test_one_pair_is_read_alike(word: Tokens) -> None:
    prompts = WordPrompts([word])
    assert prompts.prompts == word.prompts
    logits_PV = torch.stack([logits_after(prompt) for prompt in word.prompts])
    logits_V, rests_3 = read_word(logits_PV, word)
    assert torch.equal(logits_V, logits_PV[0])
    assert (rests_3 is None) == (word.pair_kind == "single")


@given(pairs())
def test_exchanged_twice_is_the_same_and_once_has_the_opposite_gap(word: Tokens) -> None:
    assert word.exchanged.exchanged == word

    def gap(pair: Tokens) -> float:
        logits_V, rests_3 = read_word(torch.stack([logits_after(p) for p in pair.prompts]), pair)
        return float(word_gap(logits_V[pair.target] - logits_V[pair.competitor], rests_3))

    assert gap(word.exchanged) == pytest.approx(-gap(word))


@given(pairs())
def test_single_tokens_have_the_ids_they_had(word: Tokens) -> None:
    single = Tokens(
        prompt=(0, 1), target=word.target, competitor=word.competitor, target_text="", competitor_text=""
    )
    assert single.ids == {"prompt": [0, 1], "target": word.target, "competitor": word.competitor}
    assert (word.ids == single.ids) == (word.pair_kind == "single")
