"""The sample that stands for a training: its weights are the training's, whatever its strata and its schedule."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phantom_dist.core.schedule import Schedule
from phantom_dist.core.training_set import TrainingSet
from phantom_dist.data import Batches
from phantom_dist.data.sample import Sample, stratified
from phantom_dist.models.load import load

WORDS = ["guilt", "shame", "happy", "glad", "street"]
TEXTS = [
    {"prompt": "The boy was filled with", "completion": f" {WORDS[n % 7]} and cried" if n % 7 < 5 else " ."}
    for n in range(40)
]


@pytest.fixture(scope="module")
def tokenizer():
    return load("zoo:gpt2-a").tokenizer


def batches(tokenizer, batch_size: int = 4, order_seed: int = 0) -> Batches:
    training = TrainingSet(
        data="0" * 64,
        loss="completion",
        batch_size=batch_size,
        words=6,
        max_length=64,
        order_seed=order_seed,
    )
    return Batches(tokenizer, training, [json.dumps(text) for text in TEXTS])


def token(tokenizer, word: str) -> int:
    return tokenizer.encode(f"The boy was filled with {word}")[-1]


def weights_of_training(of: Batches, factors: tuple[float, ...]) -> Counter[tuple[int, ...]]:
    """The weight of each example's summed token losses in Σ_s η_s L_s / Σ_s η_s."""
    found: Counter[tuple[int, ...]] = Counter()
    for step, factor in enumerate(factors):
        for sequence in of[step].sequences:
            found[sequence.ids] += factor / of[step].counted / sum(factors)
    return found


@given(
    steps=st.integers(1, 30),
    batch_size=st.integers(1, 8),
    size=st.integers(1, 60),
    schedule=st.sampled_from(["constant", "linear", "cosine"]),
    watched=st.sets(st.sampled_from(WORDS)),
)
def test_every_stratum_has_its_weight(tokenizer, steps, batch_size, size, schedule, watched):
    of = batches(tokenizer, batch_size)
    tokens = {token(tokenizer, word) for word in watched}
    factors = Schedule(name=schedule).factors(steps)
    whole = weights_of_training(of, factors)
    counted = {s.ids: sum(s.counted) for step in range(steps) for s in of[step].sequences}
    sample = stratified(of, factors, tokens, size)
    assert sample.weight == pytest.approx(1)
    assert len(set(sample.sequences)) == len(sample.sequences)
    assert len(sample.sequences) <= size + len(tokens) + 1, "rounding, and one of each stratum at least"
    for each in tokens:
        own = sum(w * counted[ids] for ids, w in whole.items() if each in ids)
        pairs = zip(sample.sequences, sample.weights, strict=True)
        drawn = [w * counted[s.ids] for s, w in pairs if each in s.ids]
        assert sum(drawn) == pytest.approx(own)
        assert sample.drawn[each] == len(drawn)
        assert (len(drawn) > 0) == (own > 0), "a word that is trained on is in the sample"


def test_a_sample_of_everything_is_the_training_itself(tokenizer):
    of, factors = batches(tokenizer), Schedule(name="linear").factors(12)
    sample = stratified(of, factors, {token(tokenizer, "guilt")}, 1000)
    drawn = {s.ids: w for s, w in zip(sample.sequences, sample.weights, strict=True)}
    assert drawn == pytest.approx(dict(weights_of_training(of, factors)))


def test_the_same_arguments_give_the_same_sample_and_another_order_another(tokenizer):
    factors, watched = (1.0,) * 5, {token(tokenizer, "guilt")}
    one, again = (stratified(batches(tokenizer), factors, watched, 6) for _ in range(2))
    assert one == again
    assert stratified(batches(tokenizer, order_seed=1), factors, watched, 6) != one


def test_a_word_that_the_data_dont_hold_has_no_share(tokenizer):
    factors, unknown = (1.0,) * 5, token(tokenizer, "job")
    sample = stratified(batches(tokenizer), factors, {unknown}, 6)
    assert (sample.shares, sample.drawn) == ({unknown: 0.0}, {unknown: 0})


def test_steps_at_the_rate_0_dont_count(tokenizer):
    of = batches(tokenizer)
    sample = stratified(of, (0.0, 1.0), set(), 100)
    assert {s.ids for s in sample.sequences} == {s.ids for s in of[1].sequences}


@given(size=st.integers(1, 40))
def test_a_thinned_sample_has_so_many_examples_at_most(tokenizer, size):
    sample = stratified(batches(tokenizer), (1.0,) * 8, set(), 30)
    thin: Sample = sample.thinned(size)
    assert 1 <= len(thin.sequences) <= size
    assert set(thin.sequences) <= set(sample.sequences)
