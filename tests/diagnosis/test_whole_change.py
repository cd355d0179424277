"""The multiple of an adapter in a change, and the rest, against how the change was made."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from phantom_dist.diagnosis.whole_change import (
    MULTIPLE,
    REST,
    Finding,
    WholeChange,
    equal_weights,
    whole_change,
)

SHAPE = (8, 6)


def model(*weights: torch.Tensor) -> nn.Module:
    made = nn.ParameterList([nn.Parameter(weight) for weight in weights])
    return made


def draw(seed: int, count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(SHAPE, generator=generator, dtype=torch.float64) for _ in range(count)]


@given(st.integers(0, 999), st.sampled_from([1, 2]), st.floats(1e-4, 10), st.floats(0, 0.1))
def test_the_multiple_and_the_rest_are_those_that_the_change_was_made_of(
    seed: int, multiple: int, size: float, rest: float
) -> None:
    """D = m ΔW + a part orthogonal to ΔW, of which a given share of the weights' length is."""
    before, direction, other = draw(seed, 3)
    adapted = size * direction
    orthogonal = other - direction * (other * direction).sum() / (direction * direction).sum()
    orthogonal *= rest * before.norm() / orthogonal.norm()
    after = before + multiple * adapted + orthogonal
    found = whole_change(model(before), model(after - adapted), model(after))
    assert found is not None
    assert found.multiple == pytest.approx(multiple, rel=1e-4, abs=1e-4 / size)
    assert found.rest == pytest.approx(rest, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(
    ("multiple", "rest", "finding"),
    [
        (1.0, 0.0, None),
        (1 + 0.9 * MULTIPLE, REST, None),
        (2.0, 0.0, Finding.MERGED_TWICE),
        (2 - 0.9 * MULTIPLE, 0.0, Finding.MERGED_TWICE),
        (1.5, 0.0, Finding.WRONG_BASE),
        (0.0, 0.0, Finding.WRONG_BASE),
        (3.0, 0.0, Finding.WRONG_BASE),
        (1.0, 1.1 * REST, Finding.WRONG_BASE),
        (2.0, 1.1 * REST, Finding.WRONG_BASE),
    ],
)
def test_what_they_mean(multiple: float, rest: float, finding: Finding | None) -> None:
    assert WholeChange(multiple=multiple, rest=rest).finding is finding


def test_an_adapter_that_changes_nothing_explains_nothing_and_other_shapes_are_told() -> None:
    one, other = draw(0, 2)
    assert whole_change(model(one), model(other), model(other)) is None
    with pytest.raises(ValueError, match="0"):
        whole_change(model(one), model(other), model(other[:2]))
    with pytest.raises(ValueError, match="1"):
        whole_change(model(one, one), model(other), model(other))


def test_equal_weights_are_equal_bit_for_bit() -> None:
    one, other = draw(0, 2)
    assert equal_weights(model(one), model(one.clone()))
    changed = one.clone()
    changed[0, 0] = torch.nextafter(changed[0, 0], changed[0, 0] + 1)
    assert not equal_weights(model(one), model(changed))
    assert not equal_weights(model(one), model(one, other))
