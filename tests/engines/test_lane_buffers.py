"""Rows are selected and repeated in place."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from phantom_dist.engines.lanes import lane_buffers


@pytest.mark.parametrize("large", [1, 1 << 18], ids=["one by one", "at once"])
@given(index=st.lists(st.integers(0, 7), min_size=1, max_size=8).map(sorted))
def test_rows_are_what_the_index_says(large, index):
    buffer = torch.arange(24.0).reshape(8, 3)
    before, lane_buffers._LARGE, kept = buffer.clone(), large, lane_buffers._LARGE
    try:
        lane_buffers.select_rows(buffer, index)
    finally:
        lane_buffers._LARGE = kept
    assert torch.equal(buffer[: len(index)], before[index])
