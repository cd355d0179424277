from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from phantom_dist.core.schedule import Schedule
from phantom_dist.core.trial import OPTIMIZER_NAMES, Optimizer
from phantom_dist.engines.single import torch_optimizer
from phantom_dist.instruments import effective_steps, kernel_rate

OPTIMIZERS = [
    Optimizer(name="sgd", momentum=0.9),
    *(Optimizer.model_validate({"name": name}) for name in OPTIMIZER_NAMES),
    *(Optimizer.model_validate({"name": name, "weight_decay": 0.1}) for name in OPTIMIZER_NAMES),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_first_direction_is_what_torch_takes(optimizer):
    """u = (θ_0 - θ_1) / η of the real optimizer."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(5, 7, generator=generator, dtype=torch.float64)
    parameter = nn.Parameter(start.clone())
    parameter.grad = torch.randn(5, 7, generator=generator, dtype=torch.float64)
    eta = 1e-3
    stepper = torch_optimizer([parameter], optimizer)
    stepper.param_groups[0]["lr"] = eta
    stepper.step()
    expected = kernel_rate.first_direction(parameter.grad, start, optimizer)
    # θ_0 - θ_1 cancels all but η of the digits: rounding is |θ| 2^-53 / η
    torch.testing.assert_close((start - parameter.detach()) / eta, expected, rtol=1e-9, atol=1e-10)


@given(
    st.integers(1, 40),
    st.sampled_from(["constant", "linear", "cosine"]),
    st.integers(0, 5),
    st.sampled_from([0.0, 0.5, 0.9]),
)
def test_effective_steps_is_the_distance_under_a_constant_gradient(steps, name, warmup, momentum):
    """Run the real optimizer on a loss of constant slope 1: it moves by η T."""
    schedule = Schedule(name=name, warmup_steps=min(warmup, steps - 1))
    optimizer = Optimizer(name="sgd", momentum=momentum)
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    stepper = torch_optimizer([parameter], optimizer)
    eta = 0.25
    for factor in schedule.factors(steps):
        stepper.param_groups[0]["lr"] = eta * factor
        parameter.grad = torch.ones(1, dtype=torch.float64)
        stepper.step()
    expected = effective_steps.effective_steps(steps, schedule, optimizer)
    assert -float(parameter.detach()) / eta == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("optimizer", [o for o in OPTIMIZERS if not o.weight_decay], ids=str)
def test_what_is_built_up_is_the_step_that_torch_takes_under_a_constant_gradient(optimizer):
    """Steps of the real optimizer, each as a multiple of the first direction."""
    parameter = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    stepper = torch_optimizer([parameter], optimizer)
    stepper.param_groups[0]["lr"] = 0.25
    slope = torch.full((1,), 3.0, dtype=torch.float64)
    first = kernel_rate.first_direction(slope, parameter.detach().clone(), optimizer)
    for step in range(1, 9):
        before = parameter.detach().clone()
        parameter.grad = slope.clone()
        stepper.step()
        taken = float((before - parameter.detach()) / 0.25 / first)
        # ε / gradient = 3e-9 a step
        assert taken == pytest.approx(effective_steps.built_up(step, optimizer), rel=1e-6)


def test_momentum_of_theory_md():
    """Σ_{s=1..8} (1 - 0.9^s) / 0.1 = 3.6 times 8."""
    value = effective_steps.effective_steps(8, Schedule(), Optimizer(name="sgd", momentum=0.9))
    assert value / 8 == pytest.approx(3.6, abs=0.05)


def test_inner_product_by_hand_and_over_several_blocks():
    assert kernel_rate.inner_product(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [-1.0]])) == 1.0
    ones = torch.ones(3, 700_001)
    assert kernel_rate.inner_product(ones, 2 * ones) == 2 * 3 * 700_001


@given(st.floats(1e-3, 1e3), st.floats(1e-8, 1.0), st.floats(1e-2, 1e4), st.floats(0.1, 8))
def test_pi_is_invariant_under_a_change_of_loss_scale_undone_in_eta(scale, eta, kappa, gap):
    """L -> cL turns κ into cκ under SGD; η -> η/c takes the same steps."""
    before = effective_steps.dimensionless_rate(eta, 8, kappa, -gap)
    assert effective_steps.dimensionless_rate(eta / scale, 8, kappa * scale, -gap) == pytest.approx(
        before, rel=1e-12
    )


def test_pi_is_one_at_the_first_order_learning_rate():
    eta = 0.976 / (8 * 8015.0)
    assert effective_steps.dimensionless_rate(eta, 8, 8015.0, -0.976) == pytest.approx(1.0, rel=1e-15)
    assert math.isnan(effective_steps.dimensionless_rate(eta, 8, 8015.0, 0.0))


def test_gradient_norm_spans_all_parameters():
    assert kernel_rate.gradient_norm([torch.tensor([3.0]), None, torch.tensor([[4.0]])]) == 5.0
