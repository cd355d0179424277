"""A weight matrix of the untouched model that no lane changes: whole in this process, or sharded over a group of ranks.

Lanes read it through this interface only. A parameter whose matrix is sharded holds NaN and has the shards as an
attribute; anything that reads it in another way gets NaN rather than a wrong number.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

from phantom_dist.engines.recorder import Geometry


class Product(Protocol):
    """A matrix M (o x i) that multiplies activations."""

    @property
    def shape(self) -> tuple[int, int]:
        """(o, i)."""
        ...

    def times(self, x: Tensor) -> Tensor:
        """x M; (…, o) -> (…, i)."""
        ...

    def times_transposed(self, x: Tensor) -> Tensor:
        """x Mᵀ; (…, i) -> (…, o)."""
        ...


class FrozenMatrix(Product, Protocol):
    """A matrix M (o x i) whose rows are looked up, too."""

    def rows(self, ids: Tensor) -> Tensor:
        """The rows with these indices; (…) -> (…, i)."""
        ...

    def squared_row_norms(self) -> Tensor:
        """The squared norm of every row; (o,)."""
        ...


class FrozenReadout(FrozenMatrix, Protocol):
    """A sharded readout matrix E (V x d), with what the instruments need of it."""

    @property
    def width(self) -> int:
        """See `probe.ReadoutMatrix`."""
        ...

    def centred_overlap_row(self, token: int) -> Tensor:
        """See `probe.ReadoutMatrix`."""
        ...

    def token_overlap_rows(self, tokens: tuple[int, ...]) -> Tensor:
        """See `probe.ReadoutMatrix`."""
        ...

    def geometry(self) -> Geometry:
        """The instruments' view where no lane changes it."""
        ...


class WholeMatrix:
    """A matrix that is whole in this process."""

    def __init__(self, weight_oi: Tensor) -> None:
        self._weight_oi = weight_oi.detach()

    @property
    def shape(self) -> tuple[int, int]:
        """See `FrozenMatrix`."""
        rows, columns = self._weight_oi.shape
        return rows, columns

    def times(self, x: Tensor) -> Tensor:
        """See `FrozenMatrix`."""
        return x @ self._weight_oi

    def times_transposed(self, x: Tensor) -> Tensor:
        """See `FrozenMatrix`."""
        return nn.functional.linear(x, self._weight_oi)

    def rows(self, ids: Tensor) -> Tensor:
        """See `FrozenMatrix`."""
        return nn.functional.embedding(ids, self._weight_oi)

    def squared_row_norms(self) -> Tensor:
        """See `FrozenMatrix`."""
        squares_o: Tensor = torch.linalg.vector_norm(self._weight_oi, dim=1).square()
        return squares_o


class Transposed:
    """Mᵀ, of which only products are needed."""

    def __init__(self, matrix: Product) -> None:
        self._matrix = matrix

    @property
    def shape(self) -> tuple[int, int]:
        """See `Product`."""
        rows, columns = self._matrix.shape
        return columns, rows

    def times(self, x: Tensor) -> Tensor:
        """See `FrozenMatrix`."""
        return self._matrix.times_transposed(x)

    def times_transposed(self, x: Tensor) -> Tensor:
        """See `FrozenMatrix`."""
        return self._matrix.times(x)


def frozen_matrix(parameter: Tensor) -> FrozenMatrix:
    """A parameter's matrix: its shards, or the parameter itself."""
    sharded = shards_of(parameter)
    return WholeMatrix(parameter) if sharded is None else sharded


def shards_of(parameter: Tensor) -> Any:
    """The shards of a parameter, a `FrozenMatrix` (a `FrozenReadout` of the readout); None where it is whole."""
    return getattr(parameter, _SHARDS, None)


def set_shards(parameter: Tensor, shards: FrozenMatrix) -> None:
    """Make these the parameter's matrix."""
    setattr(parameter, _SHARDS, shards)


_SHARDS = "phantom_dist_shards"
