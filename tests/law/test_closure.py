"""The fitted correction recovers a real effect, and stays away where there is none."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

import phantom_dist.law.closure as closure_module
from phantom_dist.law.closure import MOST_GROUPS, Closure, fit, loss, residuals, search
from phantom_dist.law.groups import BY_NAME
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


def test_the_correction_stays_beyond_the_fitted_values():
    made = rows(constant=0.03, last=0.5, noise=0.002)
    closure = fit(made, ["last"], 1e-4)
    ((low, high),) = closure.ranges
    reached = BY_NAME["last"].value
    assert (low, high) == (min(reached(r.law_input) for r in made), max(reached(r.law_input) for r in made))
    for beyond, end in ((-1.0, low), (1.0, high)):
        # The group `last` is ln of the ratio of the last two rates of the path.
        far = changed(made[0], path_rates=(1.0, math.exp(beyond)))
        assert reached(far.law_input) == pytest.approx(beyond)
        assert closure.correction(far.law_input) == pytest.approx(
            closure.constant + closure.weights[0] * end, rel=1e-12
        )
    free = replace(closure, ranges=())
    assert free.correction(far.law_input) == pytest.approx(closure.constant + closure.weights[0], rel=1e-12)


def test_a_search_judges_corrections_as_they_are_used(monkeypatch):
    """The held-out loss of its closure equals that of `residuals`, with one model far outside the others' range."""
    made = rows(constant=0.03, last=0.5, noise=0.002)
    far, end = made[0].model, max(BY_NAME["last"].value(row.law_input) for row in made)
    beyond = {"path_rates": (1.0, math.e), "eta_c": math.exp(1 + 0.03 + 0.5 * end)}
    made = [changed(row, **beyond) if row.model == far else row for row in made]
    seen = []
    monkeypatch.setattr(
        closure_module, "loss", lambda errors, models: seen.append(errors) or loss(errors, models)
    )
    found = search(made)
    models = np.array([row.model for row in made])
    held_out = np.empty(len(made))
    for model in set(models.tolist()):
        out = models == model
        rest = [row for row in made if row.model != model]
        held_out[out] = residuals(
            [row for row in made if row.model == model], fit(rest, found.groups, found.ridge)
        )
    assert found.groups
    assert any(np.allclose(errors, held_out, atol=1e-12) for errors in seen)
