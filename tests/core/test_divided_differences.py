"""Newton's form is the polynomial itself, where there are nodes enough for its degree."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phantom_dist.core.divided_differences import newton_form

COEFFICIENTS = st.lists(st.integers(-5, 5), min_size=4, max_size=4)


@given(coefficients=COEFFICIENTS, nodes=st.permutations([-2.0, -0.5, 1.0]), x=st.floats(-3, 3))
def test_a_cubic_is_found_from_three_points_and_a_slope(coefficients, nodes, x):
    def cubic(at: float) -> float:
        return sum(c * at**power for power, c in enumerate(coefficients))

    slope = sum(power * c * nodes[0] ** (power - 1) for power, c in enumerate(coefficients) if power)
    places, differences = newton_form(nodes, [cubic(node) for node in nodes], slope)
    assert places == [nodes[0], *nodes]
    products = [math.prod(x - place for place in places[:order]) for order in range(len(places))]
    newton = sum(difference * product for difference, product in zip(differences, products, strict=True))
    assert newton == pytest.approx(cubic(x), abs=1e-9)


def test_one_node_is_a_line():
    assert newton_form([2.0], [3.0], -1.0) == ([2.0, 2.0], [3.0, -1.0])
