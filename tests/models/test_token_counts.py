"""The tokens that a plan reckons with are those that the model's tokenizer makes, where it is at hand."""

from __future__ import annotations

import json

import pytest

from phantom_dist.campaign.planner import models_of
from phantom_dist.models.description import describe
from phantom_dist.models.load import load
from phantom_dist.models.token_counts import GUESS, TokenCounts, count_tokens
from phantom_dist.models.zoo import names
from phantom_dist.spec import load as load_sweep
from tests.engines.problems import CONTEXTS

TEXTS = [context.text for context in CONTEXTS.values()]


@pytest.mark.parametrize("name", names())
def test_they_are_those_of_the_loaded_tokenizer(name):
    counts = describe(f"zoo:{name}", texts=TEXTS).tokens
    tokenizer = load(f"zoo:{name}").tokenizer
    assert counts.are_counted
    assert [counts.text(text) for text in TEXTS] == [len(tokenizer.encode(text)) for text in TEXTS]


def test_a_sweep_counts_those_of_its_contexts():
    contexts = [c.model_dump() for c in CONTEXTS.values()]
    sweep = load_sweep({"models": ["zoo:gpt2-a"], "contexts": contexts, "learning_rates": [1e-3]})
    (metadata,) = models_of(sweep).values()
    assert set(metadata.tokens.of_texts) == set(TEXTS)


@pytest.mark.parametrize("what", ["missing", "damaged"])
def test_without_a_tokenizer_they_are_guessed_from_words(what, tmp_path):
    file = tmp_path / "tokenizer.json"
    if what == "damaged":
        file.write_text(json.dumps({"version": "none"}))
    counts = count_tokens(file if what == "damaged" else None, TEXTS)
    assert counts == TokenCounts()
    assert not counts.are_counted
    assert counts.text("one two three four") == 4 * GUESS + 1


def test_other_texts_have_the_mean_tokens_of_the_counted_words():
    counts = TokenCounts(of_texts={"a b": 4}, per_word=2.0)
    assert (counts.text("a b"), counts.text("c d e"), counts.words(10)) == (4, 7, 21)
