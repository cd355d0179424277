"""Each formula against its definition in float64, by property, and on cases worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from phantom_dist.instruments import drag, drift, order_parameter, overlap, readout, shares, signal

V, D = 11, 4


@st.composite
def states(draw):
    """A readout matrix (V x d), logits (V) and two different tokens, in float64."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31 - 1)))
    spread = draw(st.sampled_from([0.1, 1.0, 10.0]))
    readout_Vd = torch.randn(V, D, generator=generator, dtype=torch.float64)
    logits_V = spread * torch.randn(V, generator=generator, dtype=torch.float64)
    target = draw(st.integers(0, V - 1))
    competitor = draw(st.integers(0, V - 1).filter(lambda c: c != target))
    return readout_Vd, logits_V, target, competitor


def density_matrix(readout_Vd, p_V):
    """ρ = Σ_i p_i ê_i ê_iᵀ, built as it is written."""
    units_Vd = readout_Vd / readout_Vd.norm(dim=1, keepdim=True)
    return torch.einsum("v,vi,vj->ij", p_V, units_Vd, units_Vd), units_Vd


def measured(readout_Vd, logits_V, target, competitor):
    p_V = readout.probabilities(logits_V)
    rows_2V = overlap.overlap_rows(readout_Vd, (target, competitor))
    lever_V = order_parameter.lever(rows_2V)
    return (
        order_parameter.order_parameter(p_V, lever_V),
        signal.signal(p_V[target], p_V[competitor], rows_2V[0, competitor]),
        drag.drag(p_V, lever_V, target, competitor),
    )


# float64 sums of V terms of size at most 1: V rounding errors of 2^-53, with room for the products
TIGHT = 64 * V * 2.0**-53


@given(states())
def test_order_parameter_is_the_density_matrix_weight_difference(state):
    readout_Vd, logits_V, target, competitor = state
    phi, _, _ = measured(*state)
    rho_dd, units_Vd = density_matrix(readout_Vd, readout.probabilities(logits_V))
    t_d, c_d = units_Vd[target], units_Vd[competitor]
    assert float(phi) == pytest.approx(float(t_d @ rho_dd @ t_d - c_d @ rho_dd @ c_d), abs=TIGHT)


@given(states())
def test_density_matrix_has_trace_one_and_no_negative_eigenvalue(state):
    rho_dd, _ = density_matrix(state[0], readout.probabilities(state[1]))
    assert float(rho_dd.trace()) == pytest.approx(1.0, abs=TIGHT)
    assert float(torch.linalg.eigvalsh(rho_dd).min()) >= -TIGHT


@given(states())
def test_order_parameter_is_signal_plus_drag(state):
    phi, sigma, delta = measured(*state)
    assert float(phi) == pytest.approx(float(sigma + delta), abs=TIGHT)
    assert all(-1 <= float(x) <= 1 for x in (phi, sigma, delta))


@given(states())
def test_float32_readout_keeps_signal_plus_drag_exact(state):
    """S_tc is one number for both rows, so only float64 sums separate the two sides."""
    phi, sigma, delta = measured(state[0].float(), *state[1:])
    assert float(phi) == pytest.approx(float(sigma + delta), abs=TIGHT)


@given(states())
def test_swapping_target_and_competitor_flips_the_sign(state):
    readout_Vd, logits_V, target, competitor = state
    forward = measured(readout_Vd, logits_V, target, competitor)
    backward = measured(readout_Vd, logits_V, competitor, target)
    for a, b in zip(forward, backward, strict=True):
        assert float(a) == pytest.approx(-float(b), abs=TIGHT)


@given(states(), states())
def test_shares_add_up_to_the_change(before, after):
    target, competitor = before[2], before[3]
    after = (after[0], after[1], target, competitor)
    p_a, p_b = readout.probabilities(before[1]), readout.probabilities(after[1])
    m_a = order_parameter.lever(overlap.overlap_rows(before[0], (target, competitor)))
    m_b = order_parameter.lever(overlap.overlap_rows(after[0], (target, competitor)))
    change = measured(*after)[0] - measured(*before)[0]
    total = shares.readout_change(p_a, p_b, m_a, m_b) + shares.geometry_change(p_a, p_b, m_a, m_b)
    assert float(total) == pytest.approx(float(change), abs=TIGHT)


@given(states(), st.integers(0, 1000))
def test_geometry_share_is_exactly_zero_where_the_overlaps_stay(state, seed):
    generator = torch.Generator().manual_seed(seed)
    p_a = readout.probabilities(state[1])
    p_b = readout.probabilities(torch.randn(V, generator=generator))
    lever_V = order_parameter.lever(overlap.overlap_rows(state[0], (state[2], state[3])))
    assert float(shares.geometry_change(p_a, p_b, lever_V, lever_V)) == 0.0


@given(states())
def test_overlaps_are_the_cosines_of_the_rows(state):
    readout_Vd, _, target, competitor = state
    rows_2V = overlap.overlap_rows(readout_Vd, (target, competitor))
    expected = torch.stack(
        [torch.cosine_similarity(readout_Vd[k][None], readout_Vd) for k in (target, competitor)]
    )
    torch.testing.assert_close(rows_2V, expected, rtol=0, atol=TIGHT)
    assert rows_2V[0, target] == rows_2V[1, competitor] == 1.0
    assert rows_2V[0, competitor] == rows_2V[1, target]


@given(states(), st.floats(0.01, 100))
def test_overlaps_do_not_depend_on_the_rows_lengths(state, factor):
    readout_Vd, _, target, competitor = state
    scaled_Vd = readout_Vd.clone()
    scaled_Vd[target] *= factor
    before = overlap.overlap_rows(readout_Vd, (target, competitor))
    torch.testing.assert_close(
        overlap.overlap_rows(scaled_Vd, (target, competitor)), before, rtol=0, atol=TIGHT
    )


@given(states(), st.floats(-50, 50))
def test_centred_overlaps_ignore_what_all_rows_share(state, shift):
    readout_Vd, _, target, _ = state
    before = overlap.centred_overlap_row(readout_Vd, target)
    after = overlap.centred_overlap_row(readout_Vd + shift, target)
    # float32 rows of size up to |shift|: each entry is rounded by |shift| 2^-24, relative to centred rows of size 1
    torch.testing.assert_close(after, before, rtol=0, atol=(abs(shift) + 10) * 2.0**-20)


def test_row_rms_leaves_the_token_itself_out():
    assert overlap.row_rms(torch.tensor([1.0, 0.3, -0.4], dtype=torch.float64), 0) == pytest.approx(
        math.sqrt(0.125)
    )


def test_two_orthogonal_words_by_hand():
    """E = identity: S is the identity, M = (1, -1, 0), so Φ = p_t - p_c = σ and δ = 0."""
    p_V = readout.probabilities(torch.log(torch.tensor([0.2, 0.5, 0.3])))
    rows_2V = overlap.overlap_rows(torch.eye(3), (0, 1))
    lever_V = order_parameter.lever(rows_2V)
    assert lever_V.tolist() == [1.0, -1.0, 0.0]
    assert float(order_parameter.order_parameter(p_V, lever_V)) == pytest.approx(-0.3, abs=1e-7)
    assert float(signal.signal(p_V[0], p_V[1], rows_2V[0, 1])) == pytest.approx(-0.3, abs=1e-7)
    assert float(drag.drag(p_V, lever_V, 0, 1)) == 0.0


def test_a_bulk_word_that_leans_to_the_competitor_drags_by_hand():
    """ê_t = x, ê_c = y, bulk word at 60 degrees from x: M = cos²60 - cos²30 = 1/4 - 3/4 = -1/2; δ = -p/2."""
    angle = math.pi / 3
    readout_Vd = torch.tensor(
        [[2.0, 0.0], [0.0, 1.0], [3 * math.cos(angle), 3 * math.sin(angle)]], dtype=torch.float64
    )
    p_V = torch.tensor([0.3, 0.3, 0.4], dtype=torch.float64)
    lever_V = order_parameter.lever(overlap.overlap_rows(readout_Vd, (0, 1)))
    assert float(drag.drag(p_V, lever_V, 0, 1)) == pytest.approx(-0.2, abs=1e-15)
    assert float(order_parameter.order_parameter(p_V, lever_V)) == pytest.approx(-0.2, abs=1e-15)


def test_readout_numbers_by_hand():
    logits_V = torch.tensor([1.0, 3.0, 2.0, 3.0])
    assert float(readout.logit_gap(logits_V, 0, 1)) == -2.0
    assert [int(readout.rank(logits_V, i)) for i in range(4)] == [4, 1, 3, 1]
    assert float(readout.cross_entropy(torch.zeros(8), 3)) == pytest.approx(math.log(8), abs=1e-15)


def test_huge_logits_neither_overflow_nor_lose_the_sum():
    p_V = readout.probabilities(torch.tensor([1e4, 0.0, -1e4]))
    assert p_V.tolist() == [1.0, 0.0, 0.0]


def test_drift_by_hand():
    assert drift.embedding_drift(torch.tensor([[3.0, 5.0]]), torch.tensor([[3.0, 4.0]])) == pytest.approx(
        0.2, rel=1e-6
    )
    assert drift.embedding_drift(torch.ones(2, 2), torch.ones(2, 2)) == 0.0


@given(st.integers(0, V * D - 1))
@settings(max_examples=20)
def test_readout_hash_sees_every_single_bit(index):
    readout_Vd = torch.randn(V, D, generator=torch.Generator().manual_seed(0))
    before = drift.readout_hash(readout_Vd)
    assert drift.readout_hash(readout_Vd.clone()) == before
    readout_Vd.view(-1).view(torch.int32)[index] ^= 1
    assert drift.readout_hash(readout_Vd) != before


@given(st.integers(0, V * D - 1), st.booleans(), st.sampled_from([0.0, -0.0, math.nan, 1.0]))
@settings(max_examples=40)
def test_a_hash_that_is_asked_for_again_is_the_hash_of_the_bytes_there_are(index, compares, value):
    readout_Vd = torch.zeros(V, D)
    asked = drift.ReadoutHash(readout_Vd, compares=compares)
    for change in (None, value, None, 0.0):
        if change is not None:
            readout_Vd.view(-1)[index] = change
        assert asked() == drift.readout_hash(readout_Vd)


def test_readout_hash_works_in_bfloat16():
    assert len(drift.readout_hash(torch.ones(3, 2, dtype=torch.bfloat16))) == 32
