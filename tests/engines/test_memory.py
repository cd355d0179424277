"""Real allocations that can't succeed, in torch and in Python; and batches that find little memory free."""

from __future__ import annotations

import pytest
import torch

from phantom_dist.core import container
from phantom_dist.core.errors import OutOfMemory
from phantom_dist.core.measurement import Trial
from phantom_dist.engines import memory
from phantom_dist.engines.lanes import engine
from phantom_dist.engines.lanes.engine import LanesEngine
from phantom_dist.engines.lanes.footprint import lane_bytes
from phantom_dist.engines.lanes.training import train
from phantom_dist.engines.memory import out_of_memory_named

from .problems import DEVICE, load, measured_of


@pytest.mark.parametrize(
    "allocate",
    [lambda: torch.empty(10**14, device=DEVICE), lambda: bytearray(10**17)],
    ids=["torch", "python"],
)
def test_a_failed_allocation_has_one_name(allocate):
    with pytest.raises(OutOfMemory), out_of_memory_named():
        allocate()


def test_other_errors_pass():
    with pytest.raises(RuntimeError, match="size of tensor"), out_of_memory_named():
        torch.ones(2) + torch.ones(3)


@pytest.fixture
def scarce(monkeypatch):
    """`scarce(bytes)`: so much memory is free, whatever really is."""

    def make(free: float) -> None:
        monkeypatch.setattr(
            container, "memory_free", lambda: free + container.RESERVE * container.memory_total()
        )
        monkeypatch.setattr(memory, "LOOK_EVERY_S", 0.0)

    return make


def trials(count: int) -> list[Trial]:
    measured = measured_of(LOADED, "full", "sgd")
    return [Trial(measured=measured, learning_rate=1e-3 * (lane + 1)) for lane in range(count)]


LOADED = load("zoo:gpt2-a")


@pytest.mark.skipif(DEVICE != "cpu", reason="a GPU's allocator refuses in time")
@pytest.mark.parametrize(
    ("room", "parts"), [(100, [6]), (6, [6]), (4, [3, 3]), (2.5, [2, 2, 2]), (0.1, [1] * 6)]
)
def test_a_batch_is_trained_in_the_parts_that_fit(room, parts, scarce, monkeypatch):
    asked = trials(6)
    of_one = lane_bytes("dual", asked[0].problem, LOADED.size, len(asked[0].measured.tokens.prompt))
    whole = {r.trial.id: r for r in LanesEngine(ways=("dual",)).run(LOADED, asked)}
    trained, real = [], engine.train
    monkeypatch.setattr(engine, "train", lambda m, t, *more: trained.append(len(t)) or real(m, t, *more))
    scarce(room * of_one)
    for result in LanesEngine(ways=("dual",)).run(LOADED, asked):
        gaps = [m.logit_gap for m in whole[result.trial.id].trace]
        assert [m.logit_gap for m in result.trace] == pytest.approx(gaps, abs=1e-3, rel=1e-4)
    assert trained == parts


@pytest.mark.skipif(DEVICE != "cpu", reason="a GPU's allocator refuses in time")
def test_a_batch_ends_before_memory_does_unless_it_is_a_single_trial(scarce):
    scarce(-1.0)
    lanes = train(LOADED, trials(1), "dual")
    assert len(lanes[0].trace) == lanes[0].trial.problem.steps + 1
    with pytest.raises(OutOfMemory, match="GB of memory are left while 2 lanes train"):
        train(LOADED, trials(2), "dual")
    # the model is as it was
    assert [r.engine for r in LanesEngine(ways=("reference",)).run(LOADED, trials(1))] == ["single"]
