"""Statistics of the readout's bulk against the V x V overlaps themselves, and what a common shift of the rows does."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from phantom_dist.instruments.bulk import bulk


def rows(seed: int = 0, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    random = torch.randn(300, 12, generator=generator, dtype=torch.float64)
    return random + shift * torch.ones(12, dtype=torch.float64)


@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_mean_and_rms_are_those_of_all_pairs(shift):
    unit = torch.nn.functional.normalize(rows(shift=shift), dim=1)
    pairs = (unit @ unit.T)[~torch.eye(300, dtype=torch.bool)]
    found = bulk(rows(shift=shift))
    assert found.mean == pytest.approx(float(pairs.mean()), abs=1e-12)
    assert found.rms == pytest.approx(float((pairs**2).mean().sqrt()), abs=1e-12)


def test_rank_is_one_for_an_orthonormal_bulk_and_one_over_d_for_a_single_direction():
    assert bulk(torch.eye(8).repeat(10, 1)).rank == pytest.approx(1.0, abs=1e-12)
    assert bulk(torch.ones(20, 8) * torch.arange(1, 21)[:, None]).rank == pytest.approx(1 / 8, abs=1e-6)


def test_a_common_shift_changes_no_probability_but_the_bulk_that_is_not_centred():
    """softmax(E h) = softmax((E + 1 uᵀ) h): what changes under the shift can't tell whether LoRA commits."""
    plain, shifted = rows(), rows(shift=0.7)
    hidden = torch.randn(12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.allclose((plain @ hidden).softmax(0), (shifted @ hidden).softmax(0), atol=1e-14)
    before, after = dataclasses.asdict(bulk(plain)), dataclasses.asdict(bulk(shifted))
    for name in ("centred_rms", "centred_rank"):
        # the mean row is taken in float32
        assert after[name] == pytest.approx(before[name], rel=1e-5)
    assert after["mean"] > before["mean"] + 0.2
    assert after["rank"] < before["rank"] - 0.05


def test_blocks_make_no_difference():
    many = rows().repeat(40, 1)
    assert many.shape[0] > 8192
    assert bulk(many).rank == pytest.approx(bulk(rows()).rank, rel=1e-10)
