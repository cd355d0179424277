"""The fitted correction recovers a real effect, and stays away where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from phantom_dist.law.closure import MOST_GROUPS, Closure, fit, residuals, search
from tests.law.rows import changed, rows


def test_planted_weights_are_found():
    made = rows(constant=0.03, last=0.5, noise=0.002)
    closure = fit(made, ["last"], 1e-4)
    # 96 rows of noise 0.002 on a group of size 0.02: the weight's own error is 0.002 / (0.02 √96) = 0.01.
    assert closure.weights[0] == pytest.approx(0.5, abs=0.05)
    assert closure.constant == pytest.approx(0.03, abs=0.001)


def test_a_few_gross_outliers_move_little():
    made = rows(constant=0.03, noise=0.002)
    made[::12] = [changed(row, eta_c=1.5 * row.eta_c) for row in made[::12]]
    assert fit(made, [], 1e-4).constant == pytest.approx(0.03, abs=0.003)


def test_the_search_uses_what_helps_and_little_else():
    made = rows(constant=0.02, last=0.8, noise=0.002)
    closure = search(made)
    assert "last" in closure.groups or "last_length" in closure.groups
    assert len(closure.groups) <= MOST_GROUPS
    assert closure.constants == len(closure.groups) + 1
    assert np.abs(residuals(made, closure)).mean() < 0.3 * np.abs(residuals(made, Closure())).mean()


def test_noise_leaves_the_core_alone():
    """A closure without held-out gain is rejected. In ten draws of noise a search may rarely find one by chance."""
    fitted = [search(rows(noise=0.01, seed=seed)).constants for seed in range(10)]
    assert fitted.count(0) >= 5
    assert max(fitted) <= MOST_GROUPS + 1


def test_it_is_the_same_every_time():
    made = rows(constant=0.02, last=0.8)
    assert search(made) == search(made)
