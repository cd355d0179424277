from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from phantom_dist.contexts import check_pair, choose_competitor, synonym_floor
from phantom_dist.core.errors import Refusal
from phantom_dist.core.outcome import Outcome, Thresholds

LOGITS = torch.tensor([0.0, 5.0, 3.0, 4.0, 9.0])
OVERLAPS = torch.tensor([1.0, 0.1, 0.5, 0.4, 0.39])


def test_the_strongest_by_logit_over_the_floor_is_chosen() -> None:
    assert choose_competitor(LOGITS, OVERLAPS, 0.4, target=0) == 3
    assert choose_competitor(LOGITS, OVERLAPS, 0.41, target=0) == 2
    assert choose_competitor(LOGITS, OVERLAPS, 0.0, target=0) == 4


def test_the_target_is_no_competitor_of_its_own() -> None:
    assert choose_competitor(LOGITS, OVERLAPS, 0.0, target=4) == 1


def test_a_token_that_is_not_admitted_is_passed_over() -> None:
    assert choose_competitor(LOGITS, OVERLAPS, 0.4, target=0, is_competitor=lambda token: token != 3) == 2


def test_ties_go_to_the_smaller_id() -> None:
    assert choose_competitor(torch.zeros(5), OVERLAPS, 0.3, target=0) == 2


def test_no_competitor_over_the_floor_is_refused() -> None:
    with pytest.raises(
        Refusal, match=r"no word has a centred overlap of at least 0\.600 with the target"
    ) as refused:
        choose_competitor(LOGITS, OVERLAPS, 0.6, target=0)
    assert refused.value.outcome is Outcome.REFUSED_NOT_SYNONYM


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-1, 1)), min_size=2, max_size=12), st.floats(-1, 1))
def test_nothing_stronger_lies_over_the_floor(rows: list[tuple[float, float]], floor: float) -> None:
    logits, overlaps = (torch.tensor(column, dtype=torch.float64) for column in zip(*rows, strict=True))
    competitors = [i for i in range(1, len(rows)) if overlaps[i] >= floor]
    try:
        chosen = choose_competitor(logits, overlaps, floor, target=0)
    except Refusal:
        assert not competitors
        return
    assert chosen in competitors
    assert logits[chosen] == max(logits[i] for i in competitors)


def test_the_floor_is_a_multiple_of_the_rms() -> None:
    assert synonym_floor(0.1, Thresholds(synonym_floor_rms=4)) == pytest.approx(0.4)


def test_a_near_synonym_that_is_behind_is_accepted() -> None:
    check_pair(gap_0=-0.98, centred_overlap=0.341)
    check_pair(gap_0=-1e-9, centred_overlap=0.3)


def test_words_without_an_overlap_are_refused() -> None:
    with pytest.raises(Refusal, match="' a' and ' b' have no overlap") as refused:
        check_pair(gap_0=-1.0, centred_overlap=math.nan, target=" a", competitor=" b")
    assert refused.value.outcome is Outcome.REFUSED_NOT_SYNONYM


@pytest.mark.parametrize("gap", [0.0, 2.5])
def test_a_context_that_is_already_right_is_refused(gap: float) -> None:
    with pytest.raises(Refusal, match=r"the model already prefers ' a' to ' b': logit gap \+") as refused:
        check_pair(gap_0=gap, centred_overlap=0.5, target=" a", competitor=" b")
    assert refused.value.outcome is Outcome.REFUSED_COMMITTED
