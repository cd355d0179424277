"""Buffers with one row a lane: lanes are kept or multiplied in place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_LARGE = 1 << 18
"""Rows of so many entries are moved one by one, so that no second copy of all of them exists."""


def select_rows(buffer_L: Tensor, index: Sequence[int]) -> None:
    """Row j becomes what row index[j] was, in place; what stands behind the index is free afterwards.

    Args:
        buffer_L: rows in its first axis.
        index: never falling. Lanes that retire are left out of it; a row that several lanes start from is repeated.
    """
    if buffer_L[0].numel() < _LARGE:
        buffer_L[: len(index)] = buffer_L[torch.tensor(index, device=buffer_L.device)]
        return
    # Rows that move to the front go first, in order; then those that move back, from the end: nothing is overwritten
    # before it is read, since the index never falls.
    places = range(len(index))
    for j in (*(j for j in places if index[j] > j), *(j for j in reversed(places) if index[j] < j)):
        buffer_L[j].copy_(buffer_L[index[j]])
