"""When a trial is decided: nothing within the bound can change its outcome, and nothing else is needed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phantom_dist.core.schedule import Schedule
from phantom_dist.instruments.forecast import FEWEST, LEAST_SHARE, SAFETY, is_decided

STEPS = 40
SCHEDULES = (Schedule(), Schedule(name="linear"), Schedule(name="cosine", warmup_steps=3))


def decided(gap: list[float], drag: list[float] | None = None, **more: object) -> bool:
    settings = {
        "loss": (1.0, 1.0),
        "structural_drag": 0.01,
        "schedule": Schedule(),
        "steps": STEPS,
        "at": list(range(len(gap))),
    } | more
    return is_decided(
        settings.pop("schedule"),
        settings.pop("steps"),
        settings.pop("at"),
        gap=gap,
        drag=drag or [0.0] * len(gap),
        **settings,
    )


@given(
    st.sampled_from(SCHEDULES),
    st.lists(st.floats(-5, 5), min_size=2, max_size=STEPS),
    st.data(),
)
def test_no_way_on_within_the_bound_changes_what_is_decided(
    schedule: Schedule, gap: list[float], data: st.DataObject
) -> None:
    if not decided(gap, schedule=schedule):
        return
    factors, s = schedule.factors(STEPS), len(gap) - 1
    recent = range(len(gap) // 2, s)
    fastest = max((abs(gap[k + 1] - gap[k]) / factors[k] for k in recent), default=0.0)
    last = gap[-1]
    for factor in factors[s:]:
        last += data.draw(st.floats(-1, 1)) * SAFETY * fastest * factor * (1 - 1e-9)
    assert (last > 0) == (gap[-1] > 0)


def test_a_constant_gap_is_decided_as_early_as_the_rule_allows() -> None:
    first = next(n for n in range(1, STEPS) if decided([-1.0] * n))
    assert first == max(FEWEST, round(LEAST_SHARE * STEPS) + 1)


@pytest.mark.parametrize("place", [-1.0, 0.5])
def test_a_gap_that_may_still_cross_is_open(place: float) -> None:
    measured = STEPS // 2 + 1  # half of the rates are left
    speed = abs(place) / (SAFETY * STEPS / 2)

    def trace(times: float) -> list[float]:
        return [place - times * speed * (measured - 1 - k) for k in range(measured)]

    assert decided(trace(0.99))
    assert not decided(trace(1.01))
    assert not decided(trace(-1.01)), "away from zero just as well: it may turn"


def test_the_drag_decides_between_two_failures_only() -> None:
    count = STEPS // 2 + 1
    falling = [-0.0008 * k for k in range(count)]  # 0.016 below its start, and it may rise by 0.064
    assert not decided([-1.0] * count, falling)
    assert decided([1.0] * count, falling), "learnt, whatever the drag"
    assert decided([-1.0] * (count - 1) + [-1.0], [0.0] * count)
    relapsed = [0.1, 0.2, *[-1.0] * (count - 2)]
    assert decided(relapsed, falling), "relapsed, whatever the drag"


def test_a_training_that_may_diverge_is_open() -> None:
    count = STEPS // 2 + 1
    assert not decided([-1.0] * count, loss=(1.0, 1.1))
    assert not decided([-1.0] * count, loss=(1.0, float("nan")))
    assert not decided([-1.0] * count, loss=(None, None))


def test_what_is_measured_rarely_counts_its_measurements() -> None:
    at = [0, 10, 20, 30]
    assert not decided([-1.0] * 4, at=at), "too few"
    assert decided([-1.0] * 5, at=[*at, 35])
    assert not decided([-1.0] * FEWEST, at=list(range(FEWEST))), "too early"
