"""The zoo's language: seeded, closed over its vocabulary, and with correct probabilities."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache
from itertools import pairwise

import pytest

from phantom_dist.models.zoo.corpus import Corpus, Sentence, take
from phantom_dist.models.zoo.lexicon import CLASSES, Pair
from phantom_dist.models.zoo.pretrain import IGNORED, encode, schedule, zoo_tokenizer


@cache
def spoken() -> list[Sentence]:
    return take(Corpus(), "train", 20_000)


def says_first(sentence: Sentence) -> bool:
    return sentence.text.startswith(f"{sentence.prompt} {sentence.words[0]}")


def test_the_same_seed_says_the_same() -> None:
    assert take(Corpus(), "train", 50) == take(Corpus(), "train", 50)
    assert take(Corpus(), "train", 50) != take(Corpus(), "held-out", 50)
    assert [s.text for s in take(Corpus(1), "train", 50)] != [s.text for s in take(Corpus(2), "train", 50)]


def test_the_first_sentences_are_the_ones_that_the_shipped_weights_saw() -> None:
    assert [s.text for s in take(Corpus(), "train", 2)] == [
        "At the end of a hard journey, the queen was so weary and yawned.",
        "Because the ladder was unsafe, it made him scared and shook under the bed.",
    ]


def test_the_vocabulary_is_what_sentences_hold() -> None:
    words = zoo_tokenizer()
    used = {i for ids in words([s.text for s in spoken()])["input_ids"] for i in ids}
    assert words.unk_token_id not in used
    openings = {word for word in words.get_vocab() if word.istitle() and word[0] != "Ġ"}
    unsaid = set(words.get_vocab()) - set(words.convert_ids_to_tokens(sorted(used)))
    assert unsaid <= {words.unk_token} | {f"Ġ{word.lower()}" for word in openings}
    assert 400 <= len(words) <= 800


def test_a_prompt_ends_before_its_word() -> None:
    for sentence in take(Corpus(), "train", 200):
        assert any(sentence.text.startswith(f"{sentence.prompt} {word}") for word in sentence.words)


def test_log_odds_are_the_frequencies() -> None:
    """In every range of log-odds the first word is as frequent as predicted, within four standard deviations."""
    for low, high in pairwise((-math.inf, -4, -2, -1, 0, 1, 2, 4, math.inf)):
        within = [s for s in spoken() if low <= s.log_odds < high]
        chances = [1 / (1 + math.exp(-s.log_odds)) for s in within]
        deviation = math.sqrt(sum(p * (1 - p) for p in chances))
        assert abs(sum(map(says_first, within)) - sum(chances)) < 4 * deviation


def test_log_probabilities_are_those_of_the_sentences() -> None:
    """Compare the counts of the most frequent sentences with their probabilities."""
    chance = {s.text: math.exp(s.log_probability) for s in spoken()}
    for text, seen in Counter(s.text for s in spoken()).most_common(20):
        expected = len(spoken()) * chance[text]
        assert abs(seen - expected) < 5 * math.sqrt(expected) + 1, text


@pytest.mark.parametrize("pair", [p for c in CLASSES for p in c.pairs], ids=lambda p: "-".join(p.words))
def test_neither_word_of_a_pair_is_rare(pair: Pair) -> None:
    own = [s for s in spoken() if s.words == pair.words]
    share = sum(says_first(s) for s in own) / len(own)
    assert 0.1 < share < 0.9


def test_encoding_pads_after_the_sentence() -> None:
    words = zoo_tokenizer()
    ids_BL, labels_BL = encode(words, ["After the fire", "After the fire, they"])
    boundary = words.bos_token_id
    assert ids_BL[0].tolist()[0] == boundary
    assert ids_BL[0].tolist()[4:] == [boundary] * 3
    assert labels_BL[0].tolist()[4:] == [boundary, IGNORED, IGNORED]
    assert labels_BL[1].tolist() == ids_BL[1].tolist()


def test_the_schedule_rises_and_falls() -> None:
    rates = [schedule(step / 100) for step in range(1, 101)]
    peak = rates.index(max(rates))
    assert 3 <= peak <= 5
    assert all(a < b for a, b in pairwise(rates[: peak + 1]))
    assert all(a > b for a, b in pairwise(rates[peak:]))
    assert rates[-1] == pytest.approx(0.02)
