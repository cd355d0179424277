"""The search for g_T(η) = 0, on curves of many shapes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phantom_dist.core.outcome import Outcome
from phantom_dist.refinement.curve import Point, curve
from phantom_dist.refinement.root_search import MAX_TRIALS, Ask, Bracket, NoRoot, bracket, next_step


def search(h, gap_0, slope_0, tolerance=0.01, diverges_at=math.inf, **how):
    """Run the search to its end on h(η); returns the verdict and all trained points."""
    points = []
    while True:
        step = next_step(curve(gap_0, slope_0, points), tolerance, **how)
        if not isinstance(step, Ask):
            return step, points
        assert 1 <= len(step.learning_rates) <= how.get("trials_per_search", 1)
        for eta in step.learning_rates:
            if eta >= diverges_at:
                outcome, gap = Outcome.DIVERGED, math.nan
            else:
                gap = h(eta)
                outcome = Outcome.COMMITTED if gap > 0 else Outcome.KINEMATIC
            points.append(Point(learning_rate=eta, gap=gap, outcome=outcome))


@st.composite
def rising_curves(draw):
    """h(η) = g_0 + |g_0| f(x), x = η T κ / |g_0|, f(0) = 0, f'(0) = 1, rising: first order with a bend."""
    gap_0 = -draw(st.floats(0.05, 8.0))
    slope_0 = 10 ** draw(st.floats(1, 7))
    bend = draw(st.floats(-0.8, 2.0))
    cubic = draw(st.floats(0.0, 2.0))

    def h(eta):
        x = eta * slope_0 / -gap_0
        return gap_0 - gap_0 * (x + bend * x * x / (1 + x) + cubic * x**3)

    return h, gap_0, slope_0


@given(
    rising_curves(), st.sampled_from([0.1, 0.01, 0.001]), st.integers(1, 4), st.none() | st.floats(0.3, 3.0)
)
def test_ends_in_a_bracket_of_two_trials_within_the_tolerance(case, tolerance, trials_per_search, guess):
    h, gap_0, slope_0 = case
    rate = None if guess is None else guess * -gap_0 / slope_0
    expected = None if rate is None else (0.98 * rate, rate, 1.02 * rate)
    found, points = search(
        h, gap_0, slope_0, tolerance, trials_per_search=trials_per_search, expected=expected
    )
    assert isinstance(found, Bracket)
    assert found.width <= tolerance
    by_rate = {p.learning_rate: p.gap for p in points}
    assert by_rate[found.low] <= 0 < by_rate[found.high]
    assert found.low <= found.root <= found.high
    assert len(points) <= 22


def test_smooth_curves_take_about_four_trials():
    counts = []
    for bend in (-0.2, -0.1, 0.0, 0.2, 0.5):

        def h(eta, bend=bend):
            return -1 + 1000 * eta + bend * (1000 * eta) ** 2

        counts.append(len(search(h, -1.0, 1000.0)[1]))
    assert max(counts) <= 5, counts


def test_first_trial_is_first_order():
    assert next_step(curve(-2.0, 100.0, []), 0.01) == Ask(pytest.approx((0.02 / 1.0095**0.5,)))


def test_a_right_expectation_closes_in_one_round_of_two():
    step = next_step(curve(-1.0, 700.0, []), 0.01, expected=(0.9e-3, 1e-3, 1.1e-3), trials_per_search=2)
    assert isinstance(step, Ask)
    low, high = step.learning_rates
    assert low < 1e-3 < high <= 1.01 * low


def test_one_trial_alone_places_no_pair():
    point = Point(learning_rate=1e-3, gap=-0.1, outcome=Outcome.KINEMATIC)
    assert len(next_step(curve(-1.0, 1000.0, [point]), 0.01, trials_per_search=2).learning_rates) == 1
    more = Point(learning_rate=1.05e-3, gap=-0.06, outcome=Outcome.KINEMATIC)
    assert len(next_step(curve(-1.0, 1000.0, [point, more]), 0.01, trials_per_search=2).learning_rates) == 2


@given(rising_curves())
def test_a_search_is_a_function_of_its_points_in_any_order(case):
    h, gap_0, slope_0 = case
    _, points = search(h, gap_0, slope_0)
    for n in range(len(points)):
        asked = next_step(curve(gap_0, slope_0, points[:n]), 0.01)
        assert asked == next_step(curve(gap_0, slope_0, points[:n][::-1]), 0.01)
        assert asked == Ask((points[n].learning_rate,))


def test_the_smallest_committed_rate_counts_even_if_commitment_is_lost_above():
    """h crosses at 1, falls through zero again at 3: η_c is 1."""
    h = lambda eta: -(eta - 1) * (eta - 3)  # noqa: E731
    found, _ = search(h, -3.0, 4.0)
    assert isinstance(found, Bracket)
    assert found.low <= 1 <= found.high


def test_a_gap_that_widens_at_first_has_no_critical_rate():
    assert next_step(curve(-1.0, -5.0, []), 0.01) == NoRoot("kappa_not_positive")


def test_divergence_below_the_crossing_is_named():
    verdict, points = search(lambda eta: -1 + 0.2 * eta / (1 + eta), -1.0, 0.2, diverges_at=40.0)
    assert verdict == NoRoot("diverges_before_crossing")
    assert len(points) <= MAX_TRIALS


def test_no_crossing_is_named_after_a_bounded_number_of_trials():
    verdict, points = search(lambda eta: -1 + 0.5 * eta / (1 + eta), -1.0, 0.5)
    assert verdict == NoRoot("no_crossing_found")
    assert len(points) == MAX_TRIALS


def test_a_cliff_is_bracketed():
    """A jump in h: interpolation is of no use, bisection closes the bracket."""
    found, points = search(lambda eta: -1 + 0.5 * eta if eta < 1.234567 else 5.0, -1.0, 1.0)
    assert isinstance(found, Bracket)
    assert found.low < 1.234567 <= found.high
    assert len(points) < MAX_TRIALS


def test_a_first_trial_that_diverges_is_survived():
    found, _ = search(lambda eta: -1 + 1000 * eta * (1 + 2000 * eta), -1.0, 1000.0, diverges_at=6e-4)
    assert isinstance(found, Bracket)
    assert found.root == pytest.approx(5e-4, rel=0.01)


def test_a_crossing_beyond_a_divergence_is_no_critical_rate():
    points = [
        Point(learning_rate=1.0, gap=-0.1, outcome=Outcome.KINEMATIC),
        Point(learning_rate=2.0, gap=math.nan, outcome=Outcome.DIVERGED),
        Point(learning_rate=4.0, gap=1.0, outcome=Outcome.COMMITTED),
    ]
    assert bracket(curve(-1.0, 1.0, points)) is None
    step = next_step(curve(-1.0, 1.0, points), 0.01)
    assert isinstance(step, Ask)
    assert 1.0 < step.learning_rates[0] < 2.0


def test_a_slope_that_is_no_number_asks_for_nothing():
    assert next_step(curve(-1.0, math.nan, []), 0.01) == NoRoot("kappa_not_positive")


def test_a_bracket_is_never_made_with_a_diverged_trial():
    points = [
        Point(learning_rate=1.0, gap=-0.1, outcome=Outcome.KINEMATIC),
        Point(learning_rate=1.001, gap=5.0, outcome=Outcome.DIVERGED),
    ]
    assert bracket(curve(-1.0, 1.0, points)) is None
