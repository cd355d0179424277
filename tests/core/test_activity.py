"""Activities: a stopwatch divides time among nested ones without rest, and watchers see them begin and end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phantom_dist.core.activity import Activity, Stopwatch, activity, preparation, stopwatch, watching
from phantom_dist.core.events import EventKind, listening

TREES = st.recursive(
    st.tuples(st.sampled_from(Activity), st.integers(0, 9), st.just([])),
    lambda below: st.tuples(st.sampled_from(Activity), st.integers(0, 9), st.lists(below, max_size=3)),
    max_leaves=12,
)


@given(st.lists(TREES, max_size=4))
def test_nested_times_add_up_to_the_whole(trees):
    """Each takes its own seconds before its parts begin; nothing goes on between the outermost ones."""
    now, expected = 0.0, dict.fromkeys(Activity, 0)
    clock = Stopwatch(lambda: now)

    def run(tree):
        nonlocal now
        kind, seconds, parts = tree
        clock.began(kind, "", long=False)
        now += seconds
        expected[kind] += seconds
        for part in parts:
            run(part)
        clock.ended(kind, "")

    for tree in trees:
        run(tree)
        now += 100.0
    assert {kind: clock.seconds.get(kind.value, 0) for kind in Activity} == expected


class Watching:
    def __init__(self):
        self.seen = []

    def began(self, kind, what, *, long):
        self.seen.append(("began", kind.value, what, long))

    def ended(self, kind, what):
        self.seen.append(("ended", kind.value, what))


def test_watchers_see_the_end_of_what_fails_and_nothing_after_their_block():
    seen = Watching()
    with watching(seen), pytest.raises(ValueError, match="no"), activity(Activity.LOADING, "m", long=True):
        raise ValueError("no")
    with activity(Activity.LOADING, "later"):
        pass
    assert seen.seen == [("began", "loading", "m", True), ("ended", "loading", "m")]


def test_a_stopwatch_counts_what_its_block_did():
    with stopwatch() as clock, activity(Activity.PROBING, "p"), activity(Activity.LOADING, "m"):
        pass
    assert set(clock.seconds) == {"probing", "loading"}
    assert all(seconds >= 0 for seconds in clock.seconds.values())


def test_preparation_is_recorded():
    heard = []
    with listening(heard.append), preparation(), activity(Activity.PLANNING, "planning"):
        pass
    (event,) = heard
    assert event.kind is EventKind.PREPARED
    assert set(event.activities) == {"planning"}
