"""Rates beyond a critical one: trained once its bracket is closed, and never part of it."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from phantom_dist.core.outcome import Outcome
from phantom_dist.core.summaries import TrialSummary
from phantom_dist.refinement.search import Search
from tests.refinement.test_root_search import rising_curves

NOTHING = dict.fromkeys(
    ("steps_taken", "drag_final", "structural_drag", "batch", "wall_time", "process_bytes", "error", "note")
)


def trial(rate: float, gap: float, outcome: Outcome) -> TrialSummary:
    return TrialSummary(
        trial_id=repr(rate), problem="p", model="m", context="c", learning_rate=rate, outcome=outcome, gap_final=gap,
        **NOTHING,
    )  # fmt: skip


def rounds_of(search, outcome, trials_per_search):
    """Train what the search asks for, round by round."""
    trials, rounds = [], []
    while rates := search.next_learning_rates(trials, trials_per_search=trials_per_search):
        rounds.append(rates)
        trials += [trial(rate, *outcome(rate)) for rate in rates]
    return trials, rounds


@given(
    rising_curves(),
    st.sampled_from([0.1, 0.01]),
    st.lists(st.floats(1.2, 1e4), unique=True, max_size=6).map(tuple),
    st.floats(1.5, 100),
    st.floats(1.5, 1e4),
    st.integers(1, 4),
)
def test_multiples_follow_the_bracket_and_leave_it_alone(case, tolerance, multiples, relapse, end, at_once):
    """Also where commitment is lost above (from `relapse` times the root on) and where trainings diverge (`end`)."""
    h, gap_0, slope_0 = case

    def below(rate):
        gap = h(rate)
        return gap, Outcome.COMMITTED if gap > 0 else Outcome.KINEMATIC

    alone, _ = rounds_of(Search(gap_0=gap_0, slope_0=slope_0, tolerance=tolerance), below, at_once)
    known = Search(gap_0=gap_0, slope_0=slope_0, tolerance=tolerance).bracket(alone)
    assert known is not None
    searched = {t.learning_rate for t in alone}

    def above(rate):
        if rate in searched:
            return below(rate)
        if rate > end * known.root:
            return math.nan, Outcome.DIVERGED
        return (-1.0, Outcome.RELAPSED) if rate > relapse * known.root else (1.0, Outcome.COMMITTED)

    search = Search(gap_0=gap_0, slope_0=slope_0, tolerance=tolerance, multiples=multiples)
    trials, rounds = rounds_of(search, above, at_once)
    assert trials[: len(alone)] == alone
    assert [t.learning_rate for t in trials[len(alone) :]] == [m * known.root for m in multiples]
    assert search.bracket(trials) == known
    assert all(len(rates) <= at_once for rates in rounds)


def test_a_search_without_a_root_tries_no_multiples():
    search = Search(gap_0=-1.0, slope_0=1e3, tolerance=0.1, multiples=(3.0, 10.0))
    trials, _ = rounds_of(search, lambda rate: (-1.0, Outcome.KINEMATIC), 1)
    rates = sorted(t.learning_rate for t in trials)
    assert all(b <= 4.1 * a for a, b in pairwise(rates)), "the search's own steps, nothing beyond"
    assert search.next_learning_rates(trials) == ()
