"""Schedules are transformers'; later settings change no id and no stored text where they have their defaults."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers import get_scheduler

from phantom_dist.core.schedule import SCHEDULE_NAMES, Schedule
from phantom_dist.core.trial import Context, Optimizer, Problem

KEY = "14e9cb312f8381ee"
"""A problem's key, made before these settings came."""


@st.composite
def schedules(draw) -> tuple[Schedule, int]:
    """A schedule and a number of steps that it can have."""
    name = draw(st.sampled_from(SCHEDULE_NAMES))
    warmup = draw(st.integers(0, 30))
    settings = {"warmup_from_zero": warmup > 0 and draw(st.booleans())}
    if name == "warmup_stable_decay":
        settings["decay_steps"] = draw(st.integers(1, 30))
    if name in ("warmup_stable_decay", "cosine_with_min_lr"):
        settings["min_lr_rate"] = draw(st.floats(0, 0.99))
    schedule = Schedule(name=name, warmup_steps=warmup, **settings)
    return schedule, schedule.fewest_steps + draw(st.integers(0, 60))


def of_transformers(schedule: Schedule, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    more = {
        "cosine_with_min_lr": {"min_lr_rate": schedule.min_lr_rate},
        "warmup_stable_decay": {
            "num_decay_steps": schedule.decay_steps,
            "min_lr_ratio": schedule.min_lr_rate,
        },
    }.get(schedule.name)
    name = "constant_with_warmup" if schedule.name == "constant" else schedule.name
    scheduler = get_scheduler(name, optimizer, schedule.warmup_steps, steps, more)
    return [scheduler.lr_lambdas[0](step) for step in range(steps)]


@given(schedules())
def test_factors_are_those_of_transformers(drawn):
    """From zero all of them; otherwise those after the warm-up, whose steps have the rate of transformers' next one."""
    schedule, steps = drawn
    factors, expected = schedule.factors(steps), of_transformers(schedule, steps)
    warmup = schedule.warmup_steps
    assert len(factors) == steps
    assert factors[warmup:] == pytest.approx(expected[warmup:], rel=1e-12, abs=1e-12)
    if schedule.warmup_from_zero:
        assert factors[:warmup] == pytest.approx(expected[:warmup], rel=1e-12)
    elif warmup:
        assert factors[: warmup - 1] == pytest.approx(expected[1:warmup], rel=1e-12)
        assert factors[warmup - 1] == 1.0
        assert min(factors) > 0, "every step changes the weights"
    assert all(0 <= factor <= 1 for factor in factors)


@given(schedules())
def test_the_text_names_the_schedule(drawn):
    schedule, _ = drawn
    assert Schedule.from_text(schedule.text, schedule.warmup_steps) == schedule


@pytest.mark.parametrize(
    "text", ["cosin", "cosine(min_lr_rate=0.1)", "cosine(x=1)", "cosine(", "cosine(=)", ""]
)
def test_other_text_names_none(text):
    with pytest.raises(ValueError, match=r"schedule|min_lr_rate|x|Input|Expecting"):
        Schedule.from_text(text, 0)


def test_settings_of_later_versions_are_in_no_id_at_their_defaults():
    context = Context(id="c", text="t", target=" a", competitor=" b")
    problem = Problem(model="m", context=context, method="full", optimizer=Optimizer(name="sgd"), steps=8)
    assert problem.schedule.model_dump() == {"name": "constant", "warmup_steps": 0}
    assert problem.key == KEY
    other = problem.model_copy(update={"schedule": Schedule(warmup_steps=2, warmup_from_zero=True)})
    plain = problem.model_copy(update={"schedule": Schedule(warmup_steps=2)})
    assert other.key != plain.key


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "cosine", "min_lr_rate": 0.1}, "cosine has no min_lr_rate"),
        ({"name": "linear", "decay_steps": 3}, "linear has no decay_steps"),
        ({"name": "warmup_stable_decay"}, "needs decay_steps"),
        ({"warmup_from_zero": True}, "needs warm-up steps"),
        ({"name": "cosine_with_min_lr", "min_lr_rate": 1.0}, "less than 1"),
    ],
)
def test_settings_that_a_schedule_has_not_are_named(settings, message):
    with pytest.raises(ValidationError, match=message):
        Schedule(**settings)


@pytest.mark.parametrize(
    ("schedule", "steps"),
    [
        (Schedule(warmup_steps=3), 3),
        (Schedule(name="warmup_stable_decay", warmup_steps=3, decay_steps=2), 4),
    ],
)
def test_phases_that_take_more_steps_than_there_are(schedule, steps):
    with pytest.raises(ValueError, match="needs"):
        schedule.factors(steps)
    assert len(schedule.factors(steps + 1)) == steps + 1
