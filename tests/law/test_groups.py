"""Groups are dimensionless: they don't depend on the unit of the loss."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phantom_dist.law.groups import GROUPS, difficulty, first_order_rate, path_rate
from tests.law.rows import rows


@given(unit=st.floats(1e-3, 1e3), seed=st.integers(0, 50))
def test_another_unit_of_the_loss_changes_no_group(unit, seed):
    """With the loss multiplied by c, SGD's κ is multiplied by c and every η divided by c, for the same trajectories."""
    row = rows(models=1, contexts=1, seed=seed)[0].law_input
    other = replace(row, kappa=row.kappa * unit, path_rates=tuple(rate / unit for rate in row.path_rates))
    for group in GROUPS:
        assert group.value(other) == pytest.approx(group.value(row), rel=1e-9, abs=1e-9), group.name
    assert difficulty(other) == pytest.approx(difficulty(row), rel=1e-6, abs=1e-9)
    assert first_order_rate(other) * unit == pytest.approx(first_order_rate(row))
    assert path_rate(other) * unit == pytest.approx(path_rate(row))


def test_names_are_unique_and_meanings_given():
    assert len({group.name for group in GROUPS}) == len(GROUPS)
    assert all(group.meaning for group in GROUPS)
