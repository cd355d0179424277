"""Batches of prompts of different lengths are cut where padding would cost more than a further batch."""

from __future__ import annotations

from itertools import accumulate, pairwise

from hypothesis import given
from hypothesis import strategies as st

from phantom_dist.core.measurement import Trial
from phantom_dist.core.probe_result import Measured
from phantom_dist.engines.lanes import engine as engine_module
from phantom_dist.engines.lanes.cost import AUTO, cheapest_cut, step_cost
from phantom_dist.engines.lanes.engine import LanesEngine
from phantom_dist.engines.probe import probe
from phantom_dist.engines.single import SingleEngine
from phantom_dist.models.size import ModelSize

from .problems import CONTEXTS, load, problem

SMOLLM2 = ModelSize(parameters=134_515_008, width=576, layers=30, vocabulary_size=49_152, tied=True)


def cost(tokens: int, lanes: int) -> float:
    asked = problem("lora", "adamw", steps=8)
    way = AUTO.cheapest(asked, SMOLLM2, tokens, lanes)
    return lanes * step_cost(way, asked, SMOLLM2, tokens, lanes).seconds


def batches(lengths: list[int], sizes: list[int]) -> list[list[int]]:
    ends = [0, *accumulate(sizes)]
    return [lengths[start:end] for start, end in pairwise(ends)]


@given(st.lists(st.integers(1, 300), min_size=1, max_size=48).map(sorted))
def test_a_cut_never_costs_more_than_padding_and_never_parts_equal_lengths(lengths):
    parts = batches(lengths, cheapest_cut(lengths, cost))
    assert [length for part in parts for length in part] == lengths
    assert sum(cost(part[-1], len(part)) for part in parts) <= cost(lengths[-1], len(lengths))
    for before, after in pairwise(parts):
        assert before[-1] < after[0]


def test_one_batch_where_lengths_hardly_differ_and_two_where_they_do():
    assert cheapest_cut([10] * 24 + [11] * 24, cost) == [48]
    assert cheapest_cut([10] * 24 + [60] * 24, cost) == [24, 24]
    assert cheapest_cut([10] * 47 + [300], cost) == [47, 1]


def test_trials_of_all_lengths_equal_the_reference(monkeypatch):
    """A long prompt beside short ones is a batch of its own; every trial has its result."""
    monkeypatch.setattr(engine_module, "cheapest_cut", lambda lengths, cost: [8, 8])
    loaded = load("zoo:llama-a")
    short = next(iter(CONTEXTS.values()))
    first, *rest = short.text.split()
    long = short.model_copy(update={"id": "long", "text": " ".join([first, *rest * 5])})
    trials = []
    for context in (long, short):
        for seed in range(8):
            asked = problem("lora", "adamw", context=context, seed=seed)
            measured = probe(loaded, asked.model_copy(update={"model": "zoo:llama-a"}))
            if isinstance(measured, Measured):
                trials.append(Trial(measured=measured, learning_rate=1e-3))
    lengths = {len(trial.measured.tokens.prompt) for trial in trials}
    assert len(lengths) == 2, "both contexts can be trained"
    engine = LanesEngine(ways=("lora",))
    assert len(engine._by_length(loaded, trials)) == 2
    solos = {r.trial.id: r for r in SingleEngine().run(loaded, trials)}
    results = list(engine.run(loaded, trials))
    assert len(results) == len(trials)
    for got in results:
        gaps = [m.logit_gap for m in got.trace]
        expected = [m.logit_gap for m in solos[got.trial.id].trace]
        assert max(abs(a - b) for a, b in zip(gaps, expected, strict=True)) < 1e-4
