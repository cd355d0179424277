"""Buffers that one batch leaves to the next: same results, and nothing is kept where nobody asked for it."""

from __future__ import annotations

import functools

import pytest
import torch

from phantom_dist.core import container
from phantom_dist.core.measurement import Trial
from phantom_dist.engines import kept_memory
from phantom_dist.engines.memory import free_bytes
from phantom_dist.engines.single import SingleEngine
from phantom_dist.models.load import LoadedModel

from .problems import lanes_for, load, measured_of

LIKE = torch.empty(0)


@pytest.fixture(autouse=True)
def empty():
    kept_memory.drop()
    yield
    kept_memory.drop()


def trials(optimizer: str = "sgd", count: int = 6) -> list[Trial]:
    measured = measured_of(load("zoo:gpt2-a"), "full", optimizer)
    return [Trial(measured=measured, learning_rate=1e-3 * (1 + n)) for n in range(count)]


@functools.cache
def gpt2() -> LoadedModel:
    """One model, on which lanes are checked once."""
    return load("zoo:gpt2-a")


def run(asked: list[Trial]) -> list[str]:
    loaded = gpt2()
    return [repr(result.trace) for result in lanes_for(asked[0].problem).run(loaded, asked)]


def test_a_batch_in_kept_memory_equals_one_in_new_memory_whatever_was_left_there():
    asked = trials()
    expected, of_fewer = run(asked), run(asked[:4])
    with kept_memory.kept():
        run(asked)
        assert kept_memory.kept_bytes() > 0
        for buffer in kept_memory._free:
            buffer.fill_(torch.nan)
        left = {buffer.data_ptr() for buffer in kept_memory._free}
        assert run(asked) == expected
        assert {buffer.data_ptr() for buffer in kept_memory._free} == left, "the same memory"
        for buffer in kept_memory._free:
            buffer.fill_(torch.nan)
        assert run(asked[:4]) == of_fewer, "a smaller batch fits there too"


def test_nothing_is_kept_outside_and_all_is_dropped_at_the_end():
    run(trials())
    assert kept_memory.kept_bytes() == 0
    with kept_memory.kept():
        with kept_memory.kept():
            run(trials())
        assert kept_memory.kept_bytes() > 0, "the outer block goes on"
    assert kept_memory.kept_bytes() == 0


@pytest.mark.parametrize("other", ["stacked", "reference"])
def test_other_trainings_get_the_memory(other):
    asked = trials("adamw", 2)
    with kept_memory.kept():
        run(trials())
        if other == "stacked":
            run(asked)
        else:
            list(SingleEngine().run(load("zoo:gpt2-a"), asked[:1]))
        assert kept_memory.kept_bytes() == 0


def test_a_buffer_serves_up_to_half_its_size_and_others_are_dropped_then():
    with kept_memory.kept():
        kept_memory.give_back([torch.empty(100), torch.empty(60)])
        assert kept_memory.take(50, LIKE).numel() == 60, "the smallest that fits"
        assert kept_memory.take(30, LIKE).numel() == 30, "100 is more than twice as many"
        assert kept_memory.kept_bytes() == 0
        kept_memory.give_back([torch.empty(100, dtype=torch.float64)])
        assert kept_memory.take(100, LIKE).dtype is torch.float32


def test_a_small_request_in_between_leaves_what_is_kept():
    with kept_memory.kept():
        kept_memory.give_back([torch.empty(10**6)])
        assert kept_memory.take(100, LIKE).numel() == 100
        assert kept_memory.kept_bytes() == 4 * 10**6
        assert kept_memory.take(2000, LIKE).numel() == 2000
        assert kept_memory.kept_bytes() == 0


def test_kept_memory_counts_as_free(monkeypatch):
    monkeypatch.setattr(container, "memory_free", lambda: 5e9)
    before = free_bytes(torch.device("cpu"))
    with kept_memory.kept():
        kept_memory.give_back([torch.empty(10**9)])  # never written, so the system hasn't given it
        assert free_bytes(torch.device("cpu")) == before + 4e9
