"""SGD as a linear combination of gradients, against torch.optim.SGD itself, in float64."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from phantom_dist.core.trial import Optimizer
from phantom_dist.engines.lanes.sgd_coefficients import SgdCoefficients


@settings(max_examples=50, deadline=None)
@given(
    momentum=st.sampled_from([0.0, 0.5, 0.9]),
    decay=st.sampled_from([0.0, 0.01, 0.3]),
    rates=st.lists(st.floats(1e-6, 2.0), min_size=1, max_size=9),
    seed=st.integers(0, 100),
)
def test_the_combination_is_what_torch_computes(momentum, decay, rates, seed):
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(5, dtype=torch.float64, generator=generator)
    gradients = torch.randn(len(rates), 5, dtype=torch.float64, generator=generator)
    parameter = torch.nn.Parameter(start.clone())
    optimizer = torch.optim.SGD([parameter], lr=1.0, momentum=momentum, weight_decay=decay)
    path = SgdCoefficients(Optimizer(name="sgd", momentum=momentum, weight_decay=decay), 2, len(rates))
    for rate, gradient in zip(rates, gradients, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        parameter.grad = gradient
        optimizer.step()
        path.update([0.0, rate])
    combined = path.start[1] * start + path.gradients[1] @ gradients
    torch.testing.assert_close(combined, parameter.detach(), rtol=1e-10, atol=1e-10)
    assert path.start[0] == 1.0
    assert not path.gradients[0].any(), "a lane with rate 0 stays where it is"


def test_lanes_keep_their_own_path():
    path = SgdCoefficients(Optimizer(name="sgd"), 1, 2)
    path.select([0, 0, 0])
    path.update([1.0, 2.0, 3.0])
    path.select([0, 2])
    assert path.gradients.tolist() == [[-1.0], [-3.0]]
