"""The path probe: its polynomials, its walks against the optimizers themselves, its cost, the rate that results."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from phantom_dist.core.measurement import Trial
from phantom_dist.core.outcome import Outcome
from phantom_dist.core.probe_result import PathProbe, Refused
from phantom_dist.core.schedule import Schedule
from phantom_dist.core.trial import Context, Optimizer, Problem
from phantom_dist.engines import coordinates
from phantom_dist.engines.path import adam as adam_module
from phantom_dist.engines.path import probe as path_module
from phantom_dist.engines.path.adam import AdamWalk, _Average, strides
from phantom_dist.engines.path.interpolation import derivative, first_rise, lagrange_weights, through
from phantom_dist.engines.path.probe import probe_path
from phantom_dist.engines.path.sgd import SgdWalk
from phantom_dist.engines.path.walk import PathPoint, Trajectory, remainder
from phantom_dist.engines.probe import probe
from phantom_dist.engines.single import SingleEngine
from phantom_dist.instruments.effective_steps import effective_steps
from phantom_dist.law.file import read_law
from phantom_dist.spec import expand
from phantom_dist.spec import load as load_sweep
from tests.engines.problems import CONTEXTS, load, problem

ROOT = Path(__file__).parents[2]

NODES = st.lists(st.integers(0, 20), min_size=1, max_size=4, unique=True).map(sorted)


def polynomial(coefficients, x):
    return sum(c * x**k for k, c in enumerate(coefficients))


@given(nodes=NODES, coefficients=st.lists(st.integers(-5, 5), min_size=4, max_size=4), x=st.floats(-2, 22))
def test_weights_reproduce_polynomials_of_their_degree(nodes, coefficients, x):
    coefficients = coefficients[: len(nodes)]
    weights = lagrange_weights(nodes, x)
    value = sum(w * polynomial(coefficients, n) for w, n in zip(weights, nodes, strict=True))
    # Each term carries its rounding; nodes are at least 1 apart, so weights stay below 25^3.
    assert value == pytest.approx(polynomial(coefficients, x), rel=1e-9, abs=1e-5)


@given(nodes=NODES, coefficients=st.lists(st.integers(-5, 5), min_size=5, max_size=5), x=st.floats(-2, 22))
def test_the_curve_through_points_with_a_slope_is_the_polynomial_itself(nodes, coefficients, x):
    coefficients = coefficients[: len(nodes) + 1]
    slope = sum(k * c * nodes[0] ** (k - 1) for k, c in enumerate(coefficients) if k)
    curve = through(nodes, [polynomial(coefficients, n) for n in nodes], slope)
    assert curve(x) == pytest.approx(polynomial(coefficients, x), rel=1e-9, abs=1e-5)


def test_derivative_and_first_rise():
    assert derivative(lambda x: x**3, 2.0, 1.0) == pytest.approx(12.0, rel=1e-6)
    assert first_rise(lambda x: math.sin(x), 1.0, 8.0) == pytest.approx(2 * math.pi)
    assert first_rise(lambda x: -1.0 - x, 0.0, 1.0) is None
    assert first_rise(lambda x: 1.0 + x, 0.0, 1.0) is None, "above 0 from the start is no rise"


def made(
    optimizer: Optimizer, steps: int, schedule: Schedule | None = None, clipping: float | None = None
) -> Problem:
    context = Context(id="c", text="t", target=" a", competitor=" b")
    return Problem(
        model="m",
        context=context,
        method="full",
        optimizer=optimizer,
        steps=steps,
        schedule=schedule or Schedule(),
        gradient_clipping=clipping,
    )


def descent(size: int, seed: int) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


SCHEDULES = [
    Schedule(),
    Schedule(name="linear", warmup_steps=2, warmup_from_zero=True),
    Schedule(name="inverse_sqrt"),
    Schedule(name="cosine", warmup_steps=1),
]


def torchs(
    optimizer: torch.optim.Optimizer, asked: Problem, rate: float, odds: float, d: torch.Tensor
) -> tuple[torch.Tensor, list[float]]:
    """Train one parameter in torch on ∇L = −(1 − p) ∇ℓ with ∇ℓ = −d: θ at the end, and ℓ after each step.

    With a constant ∇ℓ, ℓ is linear in θ.
    """
    (parameter,) = optimizer.param_groups[0]["params"]
    start, expected = parameter.detach().clone(), [odds]
    for factor in asked.schedule.factors(asked.steps):
        optimizer.param_groups[0]["lr"] = rate * factor
        parameter.grad = d * remainder(expected[-1])
        if asked.gradient_clipping is not None:
            torch.nn.utils.clip_grad_norm_([parameter], asked.gradient_clipping)
        optimizer.step()
        expected.append(odds + float(d @ (start - parameter.detach())))
    return parameter.detach(), expected


@given(
    momentum=st.sampled_from([0.0, 0.5, 0.9]),
    weight_decay=st.sampled_from([0.0, 0.1, 2.0]),
    clipping=st.sampled_from([None, 1.0, 100.0]),
    schedule=st.sampled_from(SCHEDULES),
    seed=st.integers(0, 9),
)
def test_sgd_with_a_constant_log_odds_gradient_is_torchs_sgd(
    momentum, weight_decay, clipping, schedule, seed
):
    """‖∇L‖ is about 4, so one clipping applies at each step and the other at none."""
    rate, odds, d, initial = 0.03, -1.5, descent(20, seed), descent(20, seed + 100)
    sgd = Optimizer(name="sgd", momentum=momentum, weight_decay=weight_decay)
    asked = made(sgd, 7, schedule, clipping)
    walk = SgdWalk(asked, initial)
    walk.add(PathPoint(0.0, odds, -1.0), d, torch.zeros_like(d))
    parameter = torch.nn.Parameter(initial.clone())
    optimizer = torch.optim.SGD([parameter], lr=rate, momentum=momentum, weight_decay=weight_decay)
    end, expected = torchs(optimizer, asked, rate, odds, d)
    moved, trajectory = walk.state(rate, 7)
    # float64 throughout, a few dozen operations a step
    assert torch.allclose(initial - moved, end, rtol=1e-12, atol=1e-13)
    assert trajectory.log_odds == pytest.approx(expected, rel=1e-11)
    assert walk.trajectory(rate, 7) == trajectory


@pytest.mark.parametrize("steps", [1, 2, 8, 32, 128])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("clipping", [None, 1.0])
def test_adamw_with_a_constant_gradient_is_torchs_adamw(steps, weight_decay, clipping):
    """Under a constant gradient every direction is the same, so strides are exact."""
    d, initial, rate = descent(50, 2), descent(50, 3), 0.01
    odds = -80.0  # 1 − p is 1: the gradient is constant, too
    asked = made(Optimizer(name="adamw", weight_decay=weight_decay), steps, clipping=clipping)
    walk = AdamWalk(asked, initial)
    walk.add(PathPoint(0.0, odds, -1.0), d, torch.zeros_like(d))
    parameter = torch.nn.Parameter(initial.clone())
    optimizer = torch.optim.AdamW([parameter], lr=rate, weight_decay=weight_decay)
    end, expected = torchs(optimizer, asked, rate, odds, d)
    moved, trajectory = walk.state(rate, steps)
    # A stride of k steps lets none of its own steps decay: Σ_j η λ (k − j) η < λ (η k)² / 2 for each.
    tolerance = 1e-9 + weight_decay * rate**2 * sum(size**2 for size in strides(steps)) / 2
    assert torch.allclose(initial - moved, end, rtol=1e-9, atol=tolerance)
    assert trajectory.efforts[-1] == steps
    assert trajectory.log_odds[-1] - odds == pytest.approx(
        expected[-1] - odds, rel=1e-9, abs=tolerance * float(d.abs().sum())
    )


@pytest.mark.parametrize("walk", [SgdWalk, AdamWalk])
def test_what_does_not_decay_is_left_alone(walk):
    d, initial = descent(20, 4), descent(20, 5)
    decaying = initial.clone()
    decaying[10:] = 0
    ends = []
    for weight_decay in (0.0, 0.1):
        optimizer = Optimizer(name="sgd" if walk is SgdWalk else "adamw", weight_decay=weight_decay)
        asked = made(optimizer, 3)
        made_walk = walk(asked, initial, decaying=decaying)
        made_walk.add(PathPoint(0.0, -80.0, -1.0), d, torch.zeros_like(d))
        ends.append(initial - made_walk.state(1e-3, 3)[0])
    apart = (ends[1] / ends[0] - 1).abs()
    assert apart[10:].max() < 3e-4 * 1e-3 * 30, "of second order: the decay of what has been moved"
    assert apart[:10].min() > 1e-5


@given(size=st.integers(1, 16), beta=st.sampled_from([0.5, 0.9, 0.999]), seed=st.integers(0, 99))
def test_a_strides_averages_are_those_of_its_single_steps(size, beta, seed):
    """As forms in the points' gradients D (P, N) of all entries."""
    draw = np.random.default_rng(seed)
    d_PN = draw.standard_normal((3, 5))
    m_P, a_P, b_P = draw.standard_normal((3, 3))
    root = draw.standard_normal((3, 3))
    v_PP = root @ root.T
    new_m_P, new_v_PP = _Average(size, beta, beta, size).after(m_P, v_PP, a_P, b_P)

    def squared(v_PP):
        return np.einsum("pn,pq,qn->n", d_PN, v_PP, d_PN)

    expected_m, expected_v = m_P @ d_PN, squared(v_PP)
    for j in range(size):
        gradient = (a_P + j / size * (b_P - a_P)) @ d_PN
        expected_m = beta * expected_m + (1 - beta) * gradient
        expected_v = beta * expected_v + (1 - beta) * gradient**2
    assert new_m_P @ d_PN == pytest.approx(expected_m, rel=1e-11, abs=1e-12)
    assert squared(new_v_PP) == pytest.approx(expected_v, rel=1e-11, abs=1e-12)


@given(steps=st.integers(1, 500))
def test_strides_add_up_and_begin_with_single_steps(steps):
    sizes = strides(steps)
    assert sum(sizes) == steps
    assert sizes[:2] == [1, 1][: len(sizes)]
    assert max(sizes) <= max(2, steps // 8)


def test_adamws_strides_follow_a_turning_gradient():
    """Against 32 single steps on the same gradient, linear in x: entries with a sign change included."""
    steps, rate = 32, 0.01
    start, end = descent(400, 3), descent(400, 4)
    walk = AdamWalk(made(Optimizer(name="adamw"), steps), torch.zeros(400, dtype=torch.float64))
    walk.add(PathPoint(0.0, -80.0, -2.0), start, torch.zeros_like(start))
    walk.add(PathPoint(rate * steps, -79.0, -1.0), end, torch.zeros_like(start))
    parameter = torch.nn.Parameter(torch.zeros_like(start))
    optimizer = torch.optim.AdamW([parameter], lr=rate, weight_decay=0.0)
    for step in range(steps):
        parameter.grad = start + step / steps * (end - start)
        optimizer.step()
    moved, _ = walk.state(rate, steps)
    # Only the direction's curvature within a stride (at most 4 of 32 steps) is lost.
    error = torch.linalg.vector_norm(moved + parameter.detach()) / torch.linalg.vector_norm(
        parameter.detach()
    )
    assert float(error) < 0.01


def test_large_models_trajectories_come_from_a_sample_and_stay_close(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    # A row of 300 entries a hundred times as large as the rest, as a target's row of the readout matrix is.
    size = torch.ones(60_000).index_fill(0, torch.arange(300), 100.0)
    first, second = (size * torch.randn(60_000, generator=generator) for _ in range(2))
    second = first + 0.3 * second
    trajectories = []
    for large in (60_001, 60_000):
        monkeypatch.setattr(adam_module, "LARGE", large)
        walk = AdamWalk(made(Optimizer(name="adamw"), 8), torch.zeros(60_000))
        walk.add(PathPoint(0.0, -3.0, -1.0), first, torch.zeros(60_000))
        moved, reached = walk.state(1e-5, 4)
        walk.add(PathPoint(reached.distances[-1], -2.0, -0.5), second, moved)
        trajectories.append(walk.trajectory(1e-5, 8))
    whole, sampled = trajectories
    rises = [c.log_odds[-1] - c.log_odds[0] for c in trajectories]
    assert sampled.distances == whole.distances
    assert sampled != whole
    # About 60 000 / 17 entries whose sizes differ by 1.2 of their mean: 2 %, three times that allowed.
    assert rises[1] == pytest.approx(rises[0], rel=0.06)


def test_a_trajectory_is_read_between_and_beyond_its_strides():
    trajectory = Trajectory(efforts=(0.0, 1.0, 3.0), distances=(0.0, 0.1, 0.3), log_odds=(-4.0, -3.0, -1.0))
    assert trajectory.share_to(-3.5) == pytest.approx(0.5 / 3)
    assert trajectory.share_to(-2.0) == pytest.approx(2 / 3)
    assert trajectory.share_to(0.0) == pytest.approx(4 / 3)
    falling = Trajectory(efforts=(0.0, 1.0, 2.0), distances=(0.0, 0.1, 0.2), log_odds=(-4.0, -3.0, -3.5))
    assert falling.share_to(0.0) == math.inf


FROM_ZERO = Schedule(name="cosine", warmup_steps=3, warmup_from_zero=True)


@pytest.mark.parametrize(
    "schedule", [Schedule(), Schedule(name="linear"), Schedule(name="cosine", warmup_steps=3), FROM_ZERO]
)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_points_lie_at_shares_of_the_effort(schedule, momentum):
    asked = made(Optimizer(name="sgd", momentum=momentum), 20, schedule)
    walk = SgdWalk(asked, torch.zeros(1))
    assert walk.efforts[-1] == pytest.approx(effective_steps(20, schedule, asked.optimizer))
    for share in (0.01, 0.4, 0.8, 1.0):
        moving = range(2 if schedule.warmup_from_zero else 1, 21)
        nearest = min(moving, key=lambda s: abs(walk.efforts[s] / walk.efforts[-1] - share))
        assert walk.step_at(share) == nearest


CLASSES = [("full", "sgd"), ("full", "adamw"), ("lora", "adamw")]


@pytest.mark.parametrize(("method", "optimizer"), CLASSES)
@pytest.mark.parametrize("steps", [8, 48])
def test_it_costs_what_it_says_and_leaves_the_model_untouched(loaded, method, optimizer, steps, monkeypatch):
    before = {name: p.detach().clone() for name, p in loaded.model.named_parameters()}
    passes = {"forward": 0, "backward": 0}
    grad, backward = torch.autograd.grad, torch.Tensor.backward

    def counted(function, kind):
        def call(*args, **kwargs):
            passes[kind] += 1
            return function(*args, **kwargs)

        return call

    hook = loaded.model.register_forward_pre_hook(
        lambda *_: passes.__setitem__("forward", passes["forward"] + 1)
    )
    monkeypatch.setattr(torch.autograd, "grad", counted(grad, "backward"))
    monkeypatch.setattr(torch.Tensor, "backward", counted(backward, "backward"))
    measured = probe_path(loaded, problem(method, optimizer, steps=steps))
    path = measured.path
    hook.remove()
    assert path is not None
    executed = (passes["forward"] + 2 * passes["backward"]) / 3
    assert path.trial_steps == pytest.approx(executed)
    expected = 4 if steps <= 32 else 5 if optimizer == "sgd" else 6
    assert executed == pytest.approx(expected)
    assert len(path.learning_rates) == expected
    assert all(torch.equal(p, before[name]) for name, p in loaded.model.named_parameters())
    plain = probe(loaded, problem(method, optimizer, steps=steps))
    assert (measured.gap_0, measured.kappa, measured.tokens) == (plain.gap_0, plain.kappa, plain.tokens)


@pytest.mark.parametrize(("method", "optimizer"), CLASSES)
@pytest.mark.parametrize("steps", [8, 40])
def test_training_at_the_rate_it_finds_closes_a_small_gap(loaded, method, optimizer, steps):
    """A small gap leaves little to interpolate: less than 2 % of it remains, where first order leaves 10 to 50 %."""
    asked = problem(method, optimizer, steps=steps, context=CONTEXTS["guilt"])
    measured = probe_path(loaded, asked)
    path = measured.path
    assert path is not None
    (result,) = SingleEngine().run(loaded, [Trial(measured=measured, learning_rate=path.learning_rates[-1])])
    assert abs(result.trace[-1].logit_gap) < 0.02 * abs(result.trace[0].logit_gap)


@pytest.mark.parametrize(("method", "optimizer"), CLASSES)
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_trainings_of_fewer_steps_than_points_have_a_path_too(loaded, method, optimizer, steps):
    """Under LoRA two points coincide; the remaining gap tells how far off the resulting rate is."""
    measured = probe_path(loaded, problem(method, optimizer, steps=steps, context=CONTEXTS["guilt"]))
    path = measured.path
    assert path is not None
    assert len(path.learning_rates) >= 3, "the law's groups take the last three"
    assert path.trial_steps <= 4 + 1e-9
    (result,) = SingleEngine().run(loaded, [Trial(measured=measured, learning_rate=path.learning_rates[-1])])
    assert abs(result.trace[-1].logit_gap) < 0.05 * abs(result.trace[0].logit_gap)


@pytest.mark.parametrize(
    ("model", "context", "method", "optimizer", "steps"),
    [
        ("zoo:gpt-neox-a", "surprise-mad", "full", "sgd", 8),
        ("zoo:smollm3-a", "surprise-home", "lora", "adamw", 128),
    ],
)
def test_a_path_whose_last_correction_is_cut_goes_on(model, context, method, optimizer, steps, monkeypatch):
    """With `MORE = 0` each ends with a cut correction; a further point closes it, nearer to the measured rate."""
    asked = problem(method, optimizer, context=CONTEXTS[context], steps=steps)
    asked = asked.model_copy(update={"model": model})
    row = next(
        row
        for row in read_law().rows
        if (row.model, row.context, row.steps) == (model, context, steps)
        and row.training_class == f"{method} {optimizer}"
    )
    loaded = load(model)
    monkeypatch.setattr(PathProbe, "RESTARTS", 0)
    path = probe_path(loaded, asked).path
    monkeypatch.setattr(PathProbe, "MORE", 0)
    cut = probe_path(loaded, asked).path
    assert abs(math.log(cut.learning_rates[-1] / cut.learning_rates[-2])) == pytest.approx(PathProbe.MOST)
    assert abs(math.log(path.learning_rates[-1] / path.learning_rates[-2])) < PathProbe.MOST
    assert path.trial_steps == pytest.approx(cut.trial_steps + 4 / 3)
    assert path.learning_rates[: len(cut.learning_rates) - 1] == cut.learning_rates[:-1]
    off = [abs(math.log(row.eta_c / p.learning_rates[-1])) for p in (path, cut)]
    assert off[0] < off[1]


@pytest.mark.parametrize("model", ["zoo:gpt2-a", "zoo:gpt2-b", "zoo:stablelm-a"])
def test_a_path_whose_points_lay_too_far_out_is_walked_anew(model, monkeypatch):
    """κ grows so much that first order is several times too high; the first path alone is off by half or more."""
    rates = {row.problem: row.eta_c for row in read_law().rows if row.model == model}
    sweep = load_sweep(ROOT / "sweeps" / "calibration-wide.yaml")
    asked = [
        problem
        for problem in expand(sweep)
        if problem.model == model
        and problem.method == "full"
        and problem.optimizer.name == "sgd"
        and problem.context.id in ("badly-angry", "unhappy-sorrow")
        and problem.key in rates
    ]
    loaded = load(model)
    found = [probe_path(loaded, each).path for each in asked]
    monkeypatch.setattr(PathProbe, "RESTARTS", 0)
    first = [probe_path(loaded, each).path for each in asked]
    off, off_first = (
        [abs(math.log(rates[p.key] / path.learning_rates[-1])) for p, path in zip(asked, paths, strict=True)]
        for paths in (found, first)
    )
    anew = [n for n, (path, alone) in enumerate(zip(found, first, strict=True)) if path != alone]
    assert anew
    for n in anew:
        assert off[n] < off_first[n]
        assert found[n].trial_steps > first[n].trial_steps, "what all of them cost is counted"
    assert max(off_first) > 0.4
    assert max(off) < max(off_first) / 3


@given(
    st.lists(st.floats(1e-6, 1e-2), min_size=0, max_size=6),
    st.floats(0, 2),
    st.sampled_from(["full sgd", "full adamw", "lora adamw", "lora sgd", "another one"]),
)
def test_why_a_path_is_open(rates, left, training_class):
    why = PathProbe.why_open(rates, left, training_class)
    if len(rates) < 2:
        assert why is None
        return
    cut = abs(math.log(rates[-1] / rates[-2])) >= PathProbe.MOST - 1e-9
    most = PathProbe.LEFT.get(training_class, 0.1)
    assert (why is None) == (not cut and left <= most and rates[0] / rates[-1] <= PathProbe.FALL)


@pytest.mark.parametrize("restarts", [0, 1])
@pytest.mark.parametrize("more", [0, 1, 2, 3])
def test_a_path_that_never_closes_ends_after_so_many_points(loaded, more, restarts, monkeypatch):
    monkeypatch.setattr(PathProbe, "MORE", more)
    monkeypatch.setattr(PathProbe, "RESTARTS", restarts)
    monkeypatch.setattr(path_module, "newton_correction", lambda end, points, slope: PathProbe.MOST)
    path = probe_path(loaded, problem("full", "sgd")).path
    assert path.trial_steps == pytest.approx((1 + restarts) * (PathProbe.STEPS + more * 4 / 3))
    assert len(path.learning_rates) == 4 + more


@pytest.mark.parametrize(("end_odds", "expected"), [(-1.0, -0.1 / 2.0), (-4.0, -PathProbe.MOST)])
def test_an_end_where_the_walk_says_nothing_of_its_slope_is_no_perfect_end(end_odds, expected):
    """The mean slope of the whole path takes over; where ℓ didn't rise either, the correction is the largest."""
    points = [PathPoint(0.0, -3.0, -2.0), PathPoint(0.9, end_odds - 0.01, -0.5)]
    for gap, correction in ((0.1, expected), (-0.1, -expected)):
        found = path_module.newton_correction(PathPoint(1.0, end_odds, gap), points, slope=-0.7)
        assert found == pytest.approx(correction)


def test_momentum_and_schedules_are_walked_as_they_are_trained(loaded):
    for more in (
        {"momentum": 0.9},
        {"schedule": {"name": "linear"}},
        {"schedule": {"name": "cosine", "warmup_steps": 2}},
    ):
        asked = problem("full", "sgd", steps=8, context=CONTEXTS["guilt"], **more)
        measured = probe_path(loaded, asked)
        path = measured.path
        assert path is not None
        (result,) = SingleEngine().run(
            loaded, [Trial(measured=measured, learning_rate=path.learning_rates[-1])]
        )
        assert abs(result.trace[-1].logit_gap) < 0.03 * abs(result.trace[0].logit_gap)


def test_a_refused_pair_has_no_path(loaded):
    context = CONTEXTS["guilt"]
    swapped = context.model_copy(update={"target": context.competitor, "competitor": context.target})
    measured = probe_path(loaded, problem(context=swapped))
    assert isinstance(measured, Refused)
    assert measured.outcome is Outcome.REFUSED_COMMITTED


def test_a_gap_that_training_widens_has_no_path(loaded, monkeypatch):
    monkeypatch.setattr(path_module, "shares", None)  # would be called, were there a path
    monkeypatch.setattr(coordinates, "along_first_direction", lambda *_: 1.0)
    measured = probe_path(loaded, problem())
    path = measured.path
    assert path is None
    assert measured.kappa < 0
