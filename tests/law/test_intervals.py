"""Hierarchical conformal intervals: the quantile equals its definition, and coverage holds where guaranteed."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from phantom_dist.law.groups import difficulty
from phantom_dist.law.intervals import conformal
from tests.law.rows import changed, rows


def errors_of(made):
    return np.array([math.log(row.eta_c / row.law_input.path_rates[-1]) for row in made])


def test_the_quantile_is_the_definitions():
    made = rows(models=12, contexts=5, noise=0.02, model_noise=0.01)
    errors = errors_of(made)
    interval = conformal(made, errors, 0.9)
    scores = [
        (abs(e) + 5e-4) / math.exp(np.dot(interval.weights, difficulty(row.law_input)))
        for row, e in zip(made, errors, strict=True)
    ]
    # of the mass 1/12 a model: at least 0.9 at or below the quantile, less than 0.9 strictly below
    mass = 1 / (12 * 5)
    assert sum(mass for s in scores if s <= interval.quantile * (1 + 1e-12)) >= 0.9 - 1e-12
    assert sum(mass for s in scores if s < interval.quantile * (1 - 1e-12)) < 0.9


def test_too_few_architectures_promise_nothing():
    made = rows(models=8)
    assert conformal(made, errors_of(made), 0.9) is None
    made = rows(models=10)
    assert math.isfinite(conformal(made, errors_of(made), 0.9).quantile)


def test_new_architectures_are_covered():
    """200 draws of 15 exchangeable architectures, the last one new: 90 % of 14 / 15 − 3 standard errors at least."""
    covered = total = 0
    for seed in range(200):
        made = rows(models=15, contexts=4, seed=seed, noise=0.01, model_noise=0.01)
        errors = errors_of(made)
        interval = conformal(made[:-4], errors[:-4], 0.9)
        covered += sum(
            abs(e) <= interval.half_width(row.law_input)
            for row, e in zip(made[-4:], errors[-4:], strict=True)
        )
        total += 4
    # The four contexts of one architecture go together, so 200 draws count, not 800.
    assert covered / total >= 0.9 * 14 / 15 - 3 * math.sqrt(0.09 / 200)


def test_each_length_and_precision_has_a_quantile_of_its_own():
    """Where the errors of long trainings are five times as large, which no feature says, only their intervals grow."""
    made = rows(models=14, contexts=24, seed=3, noise=0.01)
    made = [changed(row, steps=(8, 8, 64)[place % 3]) for place, row in enumerate(made)]
    errors = errors_of(made)
    long = np.array([row.steps > 32 for row in made])
    even = conformal(made, errors, 0.9)
    assert set(even.by_cell) == {"T <= 8, float32", "T <= 64, float32"}
    heavy = np.where(long & (np.arange(len(made)) % 4 == 0), 5 * errors, errors)
    tails = conformal(made, heavy, 0.9)
    assert tails.by_cell["T <= 64, float32"] > 1.5 * tails.by_cell["T <= 8, float32"]
    other = changed(made[0], precision="bfloat16-mixed").law_input
    own = sum(w * x for w, x in zip(tails.weights, difficulty(other), strict=True))
    assert tails.half_width(other) == pytest.approx(tails.quantile * math.exp(own)), "a cell without rows"


def test_harder_rows_get_wider_intervals():
    made = rows(models=14, contexts=12, seed=3)
    paths = [row.law_input.path_rates for row in made]
    made = [  # the error follows the path's last correction
        changed(row, eta_c=path[-1] * (path[-1] / path[-2]) ** 0.7)
        for row, path in zip(made, paths, strict=True)
    ]
    interval = conformal(made, errors_of(made), 0.9)
    widths = [interval.half_width(row.law_input) for row in made]
    last = [abs(math.log(path[-1] / path[-2])) for path in paths]
    assert np.corrcoef(widths, last)[0, 1] > 0.8


@pytest.mark.parametrize("power", [0.5, -0.5])
def test_errors_that_grow_with_the_models_size_widen_the_intervals_of_larger_ones_and_never_narrow_them(
    power,
):
    made = [
        changed(row, parameters=round(1e5 * 2 ** int(row.model.removeprefix("m"))))
        for row in rows(models=14, contexts=12, seed=3)
    ]
    sizes = np.array([row.law_input.parameters / 1e6 for row in made])
    interval = conformal(made, errors_of(made) * sizes**power, 0.9)
    one = made[0].law_input
    small, large = (interval.half_width(replace(one, parameters=size)) for size in (10**6, 10**9))
    # The ridge takes a little of the slope.
    expected = 1000**power if power > 0 else 1.0
    assert large / small == pytest.approx(expected, rel=0.2)


@pytest.mark.parametrize(("contexts", "factor"), [(12, 1.0), (40, 4.0)])
def test_intervals_of_large_models_cover_the_contexts_of_calibrated_large_ones(contexts, factor):
    """Their errors are four times the tiny models': few contexts of them say nothing, many widen theirs alone."""
    tiny = rows(models=14, contexts=12, seed=3)
    large = [
        changed(row, model="large", parameters=10**8) for row in rows(models=1, contexts=contexts, seed=4)
    ]
    even = [*tiny, *large]
    errors = errors_of(even) * np.array([1.0] * len(tiny) + [4.0] * len(large))
    interval = conformal(even, errors, 0.9)
    narrow = replace(interval, large=1.0)
    assert interval.large >= 1
    for row in tiny:
        assert interval.half_width(row.law_input) == narrow.half_width(row.law_input)
    covered = [
        abs(error) <= interval.half_width(row.law_input)
        for row, error in zip(large, errors[-contexts:], strict=True)
    ]
    if factor == 1:
        assert interval.large == 1
    else:
        assert 0.9 <= np.mean(covered) < 0.96
        assert interval.half_width(large[0].law_input) == interval.large * narrow.half_width(
            large[0].law_input
        )


@pytest.mark.parametrize("level", [0.5, 0.8])
def test_a_lower_level_is_narrower(level):
    made = rows(models=14)
    assert conformal(made, errors_of(made), level).quantile < conformal(made, errors_of(made), 0.9).quantile
