"""Buffers with one row a lane: select and repeat rows in place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_LARGE = 1 << 18
"""Rows of this many entries or more are moved one by one, to avoid a second copy of the whole buffer."""


def select_rows(buffer_L: Tensor, index: Sequence[int]) -> None:
    """Replace row j by row index[j], in place; rows from len(index) on are unused afterwards.

    Args:
        buffer_L: rows in its first axis.
        index: non-decreasing. It omits lanes that have ended, and repeats a row that several lanes start from.
    """
    if buffer_L[0].numel() < _LARGE:
        buffer_L[: len(index)] = buffer_L[torch.tensor(index, device=buffer_L.device)]
        return
    # First the rows that move to the front, in order; then those that move back, from the end. As the index is
    # non-decreasing, no row is overwritten before it is read.
    rows = range(len(index))
    for j in (*(j for j in rows if index[j] > j), *(j for j in reversed(rows) if index[j] < j)):
        buffer_L[j].copy_(buffer_L[index[j]])
