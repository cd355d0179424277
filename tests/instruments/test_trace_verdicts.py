"""Jumps and outcomes, on traces made by hand."""

from __future__ import annotations

import math

import pytest

from phantom_dist.core.outcome import Outcome, Thresholds
from phantom_dist.instruments.jumps import largest_jump
from phantom_dist.instruments.outcome import commit_step, outcome, silent

NAN = math.nan
DEFAULT = Thresholds()


def ended(loss, gap, drag=(0.0, 0.0, 0.0)):
    return outcome(loss=loss, logit_gap=gap, drag=drag, vocabulary_size=100, thresholds=DEFAULT)


@pytest.mark.parametrize(
    ("loss", "gap", "drag", "expected"),
    [
        ((3, 2, 1), (-1, -0.5, 0.1), (0, 0, 0), Outcome.COMMITTED),
        ((3, 2, 1), (-1, 0.5, 0.0), (0, 0, 0), Outcome.RELAPSED),  # g_T = 0 is not committed
        ((3, 2, 1), (-1, -0.8, -0.5), (0, 0, -0.02), Outcome.STRUCTURAL),
        ((3, 2, 1), (-1, -0.8, -0.5), (0, 0, -0.009), Outcome.KINEMATIC),
        ((3, 2, math.log(100) + 0.01), (-1, 5, 5), (0, 0, 0), Outcome.DIVERGED),  # before committed
        (
            (9, 9, 8.9),
            (-1, -1, -1),
            (0, 0, 0),
            Outcome.KINEMATIC,
        ),  # L_0 above ln V: no divergence while it falls
        ((3, 2, NAN), (-1, 5, 5), (0, 0, 0), Outcome.DIVERGED),
        ((3, 2, 1), (-1, math.inf, 5), (0, 0, 0), Outcome.DIVERGED),
        ((3, 2, 1), (-1, 0.5, -0.1), (0, 0, -1), Outcome.RELAPSED),  # before structural
    ],
)
def test_the_first_condition_that_holds(loss, gap, drag, expected):
    assert ended(loss, gap, drag) is expected


def test_silent_needs_a_loss_that_fell_at_every_step():
    assert silent((3.0, 2.0, 1.0), Outcome.KINEMATIC)
    assert not silent((3.0, 2.0, 2.0), Outcome.KINEMATIC)
    assert not silent((3.0, 2.0, 1.0), Outcome.COMMITTED)
    assert not silent((3.0, NAN, 1.0), Outcome.DIVERGED)
    assert not silent((NAN,), Outcome.DIVERGED)


def test_commit_step_is_the_first_positive_gap():
    assert commit_step((-1.0, 0.2, -0.1, 0.3)) == 1
    assert commit_step((-1.0, 0.0)) is None


def test_a_catapult_is_a_jump_with_its_readout_share():
    jump = largest_jump([0.0, 0.02, 0.52, 0.5], [None, 0.02, 0.4, -0.02], DEFAULT)
    assert jump is not None
    assert (jump.step, jump.size, jump.readout_share) == (2, pytest.approx(0.5), pytest.approx(0.8))


def test_a_jump_downwards_keeps_its_share_positive():
    jump = largest_jump([0.5, 0.0], [None, -0.5], DEFAULT)
    assert jump is not None
    assert jump.readout_share == pytest.approx(1.0)


@pytest.mark.parametrize(
    "phi",
    [
        [0.0, 0.05, 0.09],  # too small
        [0.0, 0.11, 0.22, 0.33, 0.44],  # each step is a quarter of the range
        [0.0],
        [NAN, NAN],
    ],
)
def test_smooth_or_small_changes_are_no_jumps(phi):
    assert largest_jump(phi, [None, *phi[1:]], DEFAULT) is None


def test_what_follows_a_nan_is_no_jump():
    jump = largest_jump([0.0, 0.3, NAN], [None, 0.3, NAN], DEFAULT)
    assert jump is not None
    assert jump.step == 1


def test_thresholds_are_settings():
    assert largest_jump([0.0, 0.05], [None, 0.05], Thresholds(jump_size=0.01)) is not None
    strict = Thresholds(structural_drag=0.5)
    assert (
        outcome(loss=(3, 2), logit_gap=(-1, -1), drag=(0, -0.1), vocabulary_size=9, thresholds=strict)
        is Outcome.KINEMATIC
    )
