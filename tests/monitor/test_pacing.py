"""Looks keep to their interval and to the budget, by a clock that the test sets."""

from __future__ import annotations

import pytest

from phantom_dist.monitor.pacing import Pacing


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def steps_looked_at(*, every: int, budget: float, step_time: float, look_time: float, steps: int):
    clock = Clock()
    pacing = Pacing(every, budget, clock)
    looked = []
    for step in range(steps + 1):
        if step:
            clock.now += step_time
        if pacing.due(step):
            with pacing.looking(step):
                clock.now += look_time
            looked.append(step)
    return looked, pacing


def test_cheap_looks_come_at_their_interval():
    looked, _ = steps_looked_at(every=10, budget=0.02, step_time=1.0, look_time=0.001, steps=100)
    assert looked == list(range(0, 101, 10))


@pytest.mark.parametrize("look_time", [0.1, 0.5, 2.0, 30.0])
def test_dear_looks_get_rarer_and_stay_within_the_budget(look_time):
    looked, pacing = steps_looked_at(every=10, budget=0.02, step_time=1.0, look_time=look_time, steps=10_000)
    assert pacing.share <= 0.02
    assert len(looked) >= min(1000, 0.02 * 10_000 / look_time) * 0.9 - 2
    assert pacing.affords(1)  # room for a look at the end


def test_a_slow_look_is_paid_off_before_the_next():
    clock = Clock()
    pacing = Pacing(1, 0.1, clock)
    with pacing.looking(0):
        clock.now += 10.0
    waited = 0
    while not pacing.due(waited + 1):
        clock.now += 1.0
        waited += 1
    # spent + two more like it = 30 s, a tenth of 300 s; the first 10 s were the look itself
    assert waited == 290


def test_other_work_counts():
    clock = Clock()
    pacing = Pacing(1, 0.5, clock)
    with pacing.working():
        clock.now += 3.0
    clock.now += 3.0
    assert pacing.spent == 3.0
    assert pacing.share == 0.5


def test_a_budget_of_one_is_no_limit():
    looked, _ = steps_looked_at(every=1, budget=1.0, step_time=0.0, look_time=5.0, steps=20)
    assert looked == list(range(21))
