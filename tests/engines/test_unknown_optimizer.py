"""The reference engine trains an optimizer that lanes don't support; one that nothing supports is an error.

AdamW takes the part of a new optimizer: the tests remove it from the public tables of lanes and walks.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

import phantom_dist
from phantom_dist.core.errors import InputError
from phantom_dist.core.measurement import Trial
from phantom_dist.core.trial import Optimizer
from phantom_dist.engines.lanes import support
from phantom_dist.engines.lanes.dual import Dual
from phantom_dist.engines.lanes.engine import LanesEngine
from phantom_dist.engines.lanes.kind import NotFusable, Shape
from phantom_dist.engines.lanes.optimizer import LANE_OPTIMIZERS
from phantom_dist.engines.lanes.training import train
from phantom_dist.engines.optimizers import torch_optimizer
from phantom_dist.engines.path.cost import WALKED
from phantom_dist.engines.path.probe import WALKS, probe_path
from phantom_dist.engines.single import SingleEngine
from phantom_dist.engines.trainable import readout_matrix
from phantom_dist.instruments import effective_steps, kernel_rate

from .problems import lanes_for, measured_of, problem


@pytest.fixture
def unknown_to_lanes(monkeypatch):
    monkeypatch.setattr(support, "OPTIMIZERS", ("sgd",))


@pytest.mark.usefixtures("unknown_to_lanes")
@pytest.mark.parametrize("method", ["full", "lora"])
def test_lanes_leave_an_optimizer_that_they_dont_know_to_the_reference(loaded, method):
    def trials(optimizer: str) -> list[Trial]:
        measured = measured_of(loaded, method, optimizer)
        return [Trial(measured=measured, learning_rate=rate) for rate in (1e-4, 3e-4)]

    unknown, known = trials("adamw"), trials("sgd")
    results = list(LanesEngine().run(loaded, unknown))
    assert [result.engine for result in results] == ["single", "single"]
    assert {result.note for result in results} == {"lanes don't support the optimizer adamw"}
    assert [r.trace for r in results] == [r.trace for r in SingleEngine().run(loaded, unknown)]
    with pytest.raises(NotFusable, match="adamw"):
        train(loaded, unknown, "stacked")
    # The verdict is about the optimizer, not about the model.
    assert all("lanes" in result.engine for result in lanes_for(known[0].problem).run(loaded, known))


def test_the_dual_form_takes_sgd_only(loaded):
    shape = Shape(first=2, lanes=2, steps=4, tokens=8)
    with pytest.raises(ValueError, match="adamw"):
        Dual(Optimizer(name="adamw"), shape, readout_matrix(loaded.model))


def test_a_path_that_cant_be_walked_is_refused_by_name(loaded, monkeypatch):
    monkeypatch.delitem(WALKED, "adamw")
    message = "optimizer adamw: it can be trained, but its path can't be probed.* Predictions are for sgd"
    with pytest.raises(InputError, match=message):
        probe_path(loaded, problem("full", "adamw"))
    with pytest.raises(InputError, match=message):
        phantom_dist.predict("zoo:gpt2-a", optimizer="adamw")


def test_no_else_branch_stands_for_an_optimizer():
    new = Optimizer.model_construct(name="new")
    parameter = nn.Parameter(torch.ones(3))
    for asked in (
        lambda: torch_optimizer([parameter], new),
        lambda: kernel_rate.first_direction(torch.ones(3), parameter.detach(), new),
        lambda: effective_steps.built_up(1, new),
        lambda: new.state_size,
    ):
        with pytest.raises(AssertionError, match="new"):
            asked()


def test_what_is_said_without_torch_is_what_there_is():
    """Plans know lanes and walks by name only."""
    assert set(support.OPTIMIZERS) == set(LANE_OPTIMIZERS)
    assert WALKED.keys() == WALKS.keys()
