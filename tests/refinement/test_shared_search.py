"""Rates for words that share trainings: every bracket closes, from few trainings, whatever the curves."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phantom_dist.core.outcome import Outcome
from phantom_dist.refinement.curve import Curve, Point, curve
from phantom_dist.refinement.root_search import bracket
from phantom_dist.refinement.search import Search
from phantom_dist.refinement.shared_search import FIRST_APART, MARGIN, Word, next_learning_rates, propose

TOLERANCE = 0.05


def word(eta_c: float, gap_0: float, power: float, saturation: float) -> Callable[[float], float]:
    """g_T(η): g_0 at 0, 0 at η_c; `power` and `saturation` bend it."""

    def rise(x: float) -> float:
        return float(x**power / (1 + saturation * x**power))

    return lambda rate: gap_0 - gap_0 * rise(rate / eta_c) / rise(1.0)


words = st.builds(
    lambda eta_c, gap_0, power, saturation, slope: (
        gap_0,
        slope * -gap_0 / eta_c,
        word(eta_c, gap_0, power, saturation),
        eta_c,
    ),
    st.floats(1e-4, 1e-3),
    st.floats(-6, -0.1),
    st.floats(0.8, 1.7),
    st.floats(0, 0.5),
    st.floats(0.5, 2),
)


def known(word: tuple, rates: set[float], diverges: float = 1.0) -> Curve:
    gap_0, slope_0, gap, _ = word
    return curve(gap_0, slope_0, [_point(rate, gap(rate), diverges) for rate in rates])


def _point(rate: float, gap: float, diverges: float) -> Point:
    outcome = Outcome.COMMITTED if gap > 0 else Outcome.KINEMATIC
    if rate >= diverges:
        return Point(learning_rate=rate, gap=float("nan"), outcome=Outcome.DIVERGED)
    return Point(learning_rate=rate, gap=gap, outcome=outcome)


def search(of: list, diverges: float = 1.0) -> tuple[set[float], int]:
    """All rates until nothing is asked any more, and the number of rounds."""
    rates: set[float] = set()
    for rounds in range(60):
        estimates = [-gap_0 / slope_0 if slope_0 > 0 else None for gap_0, slope_0, *_ in of]
        new = propose([known(w, rates, diverges) for w in of], TOLERANCE, estimates)
        if not new:
            return rates, rounds
        assert not rates.intersection(new), "a rate was asked for twice"
        assert list(new) == sorted(new)
        rates.update(new)
    raise AssertionError("no end")


@given(st.lists(words, min_size=1, max_size=12))
@settings(max_examples=60)
def test_every_bracket_closes(of: list) -> None:
    rates, rounds = search(of)
    for w in of:
        closed = bracket(known(w, rates))
        assert closed is not None
        assert closed.width <= TOLERANCE * (1 + 1e-9)
        assert closed.low <= w[3] <= closed.high
    # two rates a word, those of the first round, and one more where an estimate was off
    assert len(rates) <= 8 + 4 * len(of)
    assert rounds <= 8


@given(words)
@settings(max_examples=30)
def test_a_word_that_diverges_before_it_is_learnt_is_left(w: tuple) -> None:
    rates, _ = search([w], diverges=0.8 * w[3])
    assert bracket(known(w, rates, 0.8 * w[3])) is None
    assert len(rates) <= 12


def test_a_gap_that_falls_at_first_is_bracketed_too() -> None:
    rising, falling = (
        (-1.0, 1e4, word(1e-4, -1.0, 1.0, 0.0), 1e-4),
        (-2.0, -1e3, word(3e-4, -2.0, 2.0, 0.0), 3e-4),
    )
    rates, _ = search([rising, falling])
    closed = bracket(known(falling, rates))
    assert closed is not None
    assert closed.width <= TOLERANCE


def test_words_with_near_roots_share_rates() -> None:
    of = [(-1.0, 1 / eta, word(eta, -1.0, 1.0, 0.1), eta) for eta in (1e-4 * 1.02**n for n in range(12))]
    rates, _ = search(of)
    assert len(rates) <= 14


@pytest.mark.parametrize("slope", [0.0, -1.0])
def test_without_any_word_that_rises_there_is_nothing_to_try(slope: float) -> None:
    assert propose([curve(-1.0, slope, [])], TOLERANCE, [None]) == ()


@given(st.lists(st.floats(1e-6, 1e-2), min_size=1, max_size=10), st.booleans())
@settings(max_examples=60)
def test_the_first_round_spans_where_all_roots_are_thought_to_lie(roots: list[float], by_law: bool) -> None:
    """By the law's predictions where there are any, else by first order."""
    of = [
        Word(
            search=Search(
                gap_0=-1.0,
                slope_0=1e9 if by_law else 1 / root,
                tolerance=TOLERANCE,
                expected=(root / 3, root, root * 3) if by_law else None,
            ),
            trials=[],
        )
        for root in roots
    ]
    rates = next_learning_rates(of, TOLERANCE)
    assert rates[0] == pytest.approx(min(roots) / MARGIN)
    assert rates[-1] == pytest.approx(max(roots) * MARGIN)
    assert all(b / a <= FIRST_APART * (1 + 1e-9) for a, b in pairwise(rates))


def test_words_that_lie_far_apart_take_few_rounds() -> None:
    """A hundredfold range, estimates off by up to half: one round to bracket, two or three to close."""
    of = [
        (-1.0, (1.5 if place % 2 else 0.67) / eta, word(eta, -1.0, 1.2, 0.2), eta)
        for place, eta in enumerate(1e-5 * 100 ** (n / 11) for n in range(12))
    ]
    rates, rounds = search(of)
    assert all(bracket(known(w, rates)).width <= TOLERANCE for w in of)
    assert rounds <= 4
    assert len(rates) <= 7 + 3 * len(of)
