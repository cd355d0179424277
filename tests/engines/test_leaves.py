"""A model without a leaf for each module goes to the reference engine, with the reason; a new leaf needs one class."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from phantom_dist.core.measurement import Trial
from phantom_dist.engines.lanes import leaves
from phantom_dist.engines.lanes.engine import LanesEngine
from phantom_dist.engines.lanes.kind import FullLanes
from phantom_dist.engines.lanes.leaves.leaf import Leaf
from phantom_dist.engines.single import SingleEngine

from .problems import DEVICE, load, measured_of


class Doubled(nn.Module):
    """A module without a leaf: it multiplies its input by its parameter."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((width,), 1.0))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain


class DoubledLeaf(Leaf):
    """The leaf that a plug-in would add for it."""

    def __init__(self, module: Doubled, lanes: FullLanes) -> None:
        super().__init__(module, lanes)
        self._gain = lanes.vector(module.gain)

    @staticmethod
    def stands_for(module: nn.Module) -> bool:
        return type(module) is Doubled

    def forward(self, x: Tensor) -> Tensor:
        return x * self._gain.value[:, None]


@pytest.fixture
def strange():
    """gpt2-a with a `Doubled` module."""
    loaded = load("zoo:gpt2-a")
    loaded.model.transformer.drop = Doubled(loaded.model.config.n_embd).to(DEVICE)
    return loaded


def trials(loaded, *more):
    measured = measured_of(loaded, *more)
    rate = abs(measured.gap_0) / (4 * measured.kappa)
    return [Trial(measured=measured, learning_rate=rate * factor) for factor in (0.5, 1.5)]


def test_an_unknown_leaf_falls_back_and_says_so(strange):
    asked = trials(strange)
    results = list(LanesEngine(ways=("dual",)).run(strange, asked))
    assert {r.engine for r in results} == {"single"}
    assert {r.note for r in results} == {"transformer.drop is a Doubled, for which lanes have no leaf"}
    assert [r.trace for r in results] == [r.trace for r in SingleEngine().run(strange, asked)]


def test_under_lora_no_leaf_needs_to_be_known(strange):
    results = LanesEngine(ways=("lora",)).run(strange, trials(strange, "lora", "adamw"))
    assert {r.engine for r in results} == {"lora lanes"}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_new_kind_of_leaf_is_a_class_and_a_line(strange, optimizer, monkeypatch):
    monkeypatch.setattr(leaves, "LEAVES", (*leaves.LEAVES, DoubledLeaf))
    asked = trials(strange, "full", optimizer)
    expected = {r.trial.id: r for r in SingleEngine().run(strange, asked)}
    kind = "dual" if optimizer == "sgd" else "stacked"
    for result in LanesEngine(ways=(kind,)).run(strange, asked):
        assert result.engine == f"{kind} lanes"
        assert [m.logit_gap for m in result.trace] == pytest.approx(
            [m.logit_gap for m in expected[result.trial.id].trace], abs=1e-3
        )


def test_a_norm_is_recognised_by_what_it_computes():
    class OddRMSNorm(nn.Module):
        """Not a gain that broadcasts: the weights are summed."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.weight.sum()

    assert not leaves.ScaledNorm.stands_for(OddRMSNorm())
    norms = {
        type(m)
        for n in ("llama-a", "gemma3-a", "cohere-a", "olmo2-a")
        for m in load(f"zoo:{n}").model.modules()
        if type(m).__name__.endswith("Norm")
    }
    assert len(norms) == 4
    for name in ("llama-a", "gemma3-a", "cohere-a", "olmo2-a"):
        for module in load(f"zoo:{name}").model.modules():
            if type(module).__name__.endswith(("RMSNorm", "LayerNorm")):
                assert leaves.ScaledNorm.stands_for(module)
