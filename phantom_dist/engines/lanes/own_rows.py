"""Embeddings that are only looked up: a lane has copies of the rows of its own prompt, and no others.

No other row gets a gradient or is read, so under any optimizer only these need copies.
"""

from __future__ import annotations

import torch
from torch import Tensor

from phantom_dist.engines.lanes.frozen_matrix import FrozenMatrix
from phantom_dist.engines.lanes.parameters import LaneTensor


class OwnRows:
    """A table that is not tied to the readout: each lane has at most one row for each token of its prompt."""

    def __init__(self, untouched: FrozenMatrix, own: LaneTensor) -> None:
        self._untouched, self._own = untouched, own
        self._filled = False

    def rows(self, ids_LK: Tensor) -> Tensor:
        """See `kind.Table`."""
        ids_LK = ids_LK.expand(len(self._own.value), -1)
        if not self._filled:
            with torch.no_grad():
                self._own.value.copy_(self._untouched.rows(ids_LK))
            self._filled = True
        return self._own.rows(first_places(ids_LK))


def first_places(ids_LK: Tensor) -> Tensor:
    """For each position the first one with the same id, so that a repeated token has one row; (L, K)."""
    places_K = torch.arange(ids_LK.shape[1], device=ids_LK.device)
    same_LKK = ids_LK[:, :, None] == ids_LK[:, None, :]
    return torch.where(same_LKK, places_K, len(places_K)).amin(dim=2)
