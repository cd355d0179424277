"""The rules for a warning, on hand-written histories of looks."""

from __future__ import annotations

import math

import pytest

from phantom_dist.monitor import MonitorSettings
from phantom_dist.monitor.forecast import line
from phantom_dist.monitor.look import Reading
from phantom_dist.monitor.verdict import LookHistory, TrainingProgress

SETTINGS = MonitorSettings()


def reading(gap: float, loss: float, drag: float = 0.0) -> Reading:
    return Reading(
        loss=loss,
        logit_gap=gap,
        p_target=0.1,
        p_competitor=0.2,
        rank_target=2,
        overlap=0.6,
        order_parameter=drag - 0.1,
        signal=-0.1,
        drag=drag,
    )


def run(gap, loss, drag=lambda x: 0.0, *, looks=20, total=200, rate=lambda x: 1.0):
    """Findings of a training of `total` steps; gap, loss, drag and rate are functions of the share of steps taken."""
    history, found, tau, before = LookHistory(), [], 0.0, 0.0
    for i in range(looks + 1):
        x = i / looks
        tau += rate(x) * total / looks if i else 0.0
        left = sum(rate((j + 0.5) / looks) for j in range(i, looks)) * total / looks
        now = TrainingProgress(
            step=round(x * total),
            total=total,
            tau=tau,
            left=left,
            rising=rate(x) > before and i > 0,
            over=i == looks,
        )
        before = rate(x)
        finding = history.add(reading(gap(x), loss(x), drag(x)), now, SETTINGS)
        if finding:
            found.append(finding)
    return found


def falling(x):
    return 5 - 3 * x


def test_a_line_has_the_slope_and_scatter_of_its_points():
    exact = line([0, 1, 2, 3, 4, 5, 6, 7, 8], [9, 9, 9, 9, 1, 2, 3, 4, 5])
    assert (exact.value, exact.slope, exact.looks) == (5.0, 1.0, 5)
    assert exact.scatter == pytest.approx(0)
    assert exact.ahead(3) == 8.0
    assert exact.at_best(3, speed_up=2, noise=2) == pytest.approx(5 + 2 * 4 * 3)
    assert exact.growth == 4.0  # it fell at first
    assert line(range(9), [0, 1, 2, 3, 4, 5, 6, 7, 8]).growth == pytest.approx(1.0)
    assert line(range(9), [x * x for x in range(9)]).growth == pytest.approx(3.0)
    assert line([0, 1, 2, 3], [0, 2, 0, 2]).scatter > 0.9
    assert line([1, 1, 1, 1], [3, 3, 3, 3]).slope == 0.0  # a learning rate of 0


def test_a_gap_that_stays_open_while_the_loss_falls_is_kinematic():
    (finding,) = run(lambda x: -4 + x, falling)
    assert finding.kind == "kinematic"
    assert finding.step <= 0.4 * 200
    assert finding.since < finding.step
    assert finding.gap_end == pytest.approx(-3, abs=0.01)
    assert finding.share == pytest.approx(0.25, abs=0.01)


def test_a_worsening_drag_is_structural_since_it_fell():
    found = run(lambda x: -4 + x, falling, lambda x: -0.2 if x > 0.15 else 0.0)
    assert [f.kind for f in found] == ["structural"]
    assert found[0].since == 40


def test_both_kinds_are_told_once_each():
    found = run(lambda x: -4 + x, falling, lambda x: -0.2 if x > 0.7 else 0.0)
    assert [f.kind for f in found] == ["kinematic", "structural"]


@pytest.mark.parametrize(
    ("gap", "loss"),
    [
        (lambda x: -4 + 6 * x, falling),  # overtakes
        (lambda x: -4 + 4.2 * x, falling),  # overtakes just before the end
        (lambda x: -4 + 5 * x * x, falling),  # gets faster
        (lambda x: -6 + 6.5 / (1 + math.exp(10 * (0.5 - x))), falling),  # and much faster, as LoRA may
        (lambda x: -4.0, lambda x: 5 + x),  # the loss rises: it is no silent failure
        (lambda x: -4.0, lambda x: 5 - 0.1 * x),  # it hardly falls
    ],
)
def test_no_warning(gap, loss):
    assert run(gap, loss) == []


def test_warm_up_and_decay_are_no_change_of_pace():
    def rate(x):
        return x / 0.1 if x < 0.1 else (1 - x) / 0.9

    def done(x):
        return sum(rate((j + 0.5) / 1000) for j in range(int(1000 * x))) / 1000 / 0.5

    assert run(lambda x: -4 + 4.4 * done(x), falling, rate=rate) == []
    (finding,) = run(lambda x: -4 + 2.0 * done(x), falling, rate=rate)
    assert finding.gap_end == pytest.approx(-2, abs=0.2)


def test_nothing_is_said_while_the_learning_rate_rises_or_before_a_quarter():
    assert [f.step for f in run(lambda x: -4.0, falling, rate=lambda x: x + 0.01)] == [200]  # it is over
    (finding,) = run(lambda x: -4.0, falling, looks=40)
    assert finding.since == 50


def test_numbers_that_are_not_finite_are_told_once():
    found = run(lambda x: -4 + 5 * x if x < 0.5 else math.nan, falling)
    assert [f.kind for f in found] == ["diverged"]
    assert found[0].step == 100


def test_a_word_that_fell_back_is_said_to_have_overtaken():
    (finding,) = run(lambda x: 0.5 if 0.1 < x < 0.2 else -3.0, falling)
    assert finding.overtook == 30


def test_without_an_end_as_much_again_is_reckoned_with():
    history = LookHistory()
    for i in range(12):
        now = TrainingProgress(step=10 * i, total=None, tau=10.0 * i, left=10.0 * i, rising=False)
        finding = history.add(reading(-4 + 0.05 * i, 5 - 0.2 * i), now, SETTINGS)
        if finding:
            break
    assert finding is not None
    assert finding.gap_end is None
    assert finding.share is None


def test_a_gap_that_is_open_at_the_end_is_told_however_near():
    (finding,) = run(lambda x: -4 + 3.9 * x, falling)
    assert finding.step == 200
    assert finding.over
    assert finding.gap_end == pytest.approx(-0.1)
    assert run(lambda x: -4 + 3.9 * x, falling, looks=2)[0].over  # where the budget left no room for more


def test_a_training_may_turn_out_to_be_over():
    history, now = LookHistory(), TrainingProgress(step=0, total=None, tau=0.0, left=0.0, rising=False)
    assert history.add(reading(-4, 5), now, SETTINGS) is None
    now = TrainingProgress(step=50, total=None, tau=50.0, left=50.0, rising=False)
    assert history.add(reading(-1, 2), now, SETTINGS) is None
    over = TrainingProgress(step=50, total=None, tau=50.0, left=0.0, rising=False, over=True)
    finding = history.judge(over, SETTINGS)
    assert finding.kind == "kinematic"
    assert finding.share == pytest.approx(0.75)
    assert history.judge(over, SETTINGS) is None
