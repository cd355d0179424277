"""Stacked lanes: full fine-tuning with a copy of the weights per lane, under any optimizer; products are batched.

Memory of a lane: weights, gradients and the optimizer's state, (2 + 2) × 4 bytes a parameter under AdamW in float32,
and the activations of one backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from phantom_dist.core.trial import Optimizer
from phantom_dist.engines.lanes.frozen_matrix import WholeMatrix
from phantom_dist.engines.lanes.kind import FullLanes, Lanes, NotFusable, Shape
from phantom_dist.engines.lanes.leaves import leaves_for
from phantom_dist.engines.lanes.own_rows import OwnRows
from phantom_dist.engines.lanes.parameters import LaneTensor
from phantom_dist.instruments import drift, overlap


class StackedMatrix:
    """A matrix with a copy per lane: W (L, o, i)."""

    def __init__(self, weight: LaneTensor, lanes: Lanes) -> None:
        self._weight, self._lanes = weight, lanes

    def product(self, x: Tensor) -> Tensor:
        """See `kind.Matrix`."""
        weight_Loi = self._weight.value
        x_LKi = x.reshape(len(weight_Loi), -1, weight_Loi.shape[2])
        y_LKo: Tensor = _Product.apply(x_LKi, weight_Loi, self._weight)  # type: ignore[no-untyped-call]
        return y_LKo.reshape(*x.shape[:-1], -1)

    def rows(self, ids_LK: Tensor) -> Tensor:
        """See `kind.Table`; with several rows a lane (L · rows, K) -> (L · rows, K, i)."""
        lanes, rows = len(self._weight.value), self._lanes.rows
        ids_LK = ids_LK.expand(lanes * rows, -1).reshape(lanes, -1)
        rows_LKi = self._weight.rows(ids_LK)
        return rows_LKi.reshape(lanes * rows, -1, rows_LKi.shape[2])


class _Product(torch.autograd.Function):
    """x Wᵀ, whose backward pass adds the weight's gradient to its `LaneTensor` in one pass."""

    @staticmethod
    def forward(ctx: Any, x_LKi: Tensor, weight_Loi: Tensor, weight: LaneTensor) -> Tensor:
        ctx.save_for_backward(x_LKi, weight_Loi)
        ctx.weight = weight
        return torch.bmm(x_LKi, weight_Loi.mT)

    @staticmethod
    def backward(ctx: Any, dy_LKo: Tensor) -> tuple[Tensor, None, None]:
        x_LKi, weight_Loi = ctx.saved_tensors
        ctx.weight.add_product(dy_LKo, x_LKi)
        return torch.bmm(dy_LKo, weight_Loi), None, None


class StackedGeometry:
    """The geometry of a readout matrix with a copy per lane."""

    frozen = False

    def __init__(self, weight: LaneTensor, initial_Vd: Tensor) -> None:
        self._weight = weight
        self._initial_Vd = initial_Vd.detach()

    def watch(self, pairs_L2: Tensor) -> None:
        """A no-op: lanes share nothing."""

    def overlap_rows(self, pairs_L2: Tensor, lanes: slice) -> Tensor:
        """See `recorder.Geometry`."""
        weight_LVd = self._weight.value[lanes].detach()
        weight_LVd = weight_LVd.float() if weight_LVd.dtype.itemsize < 4 else weight_LVd
        pair_L2d = weight_LVd.gather(1, pairs_L2[..., None].expand(-1, -1, weight_LVd.shape[2]))
        norms_LV = torch.linalg.vector_norm(weight_LVd, dim=2)
        return overlap.overlaps(pair_L2d @ weight_LVd.mT, norms_LV, pairs_L2)

    def drift(self) -> Sequence[float]:
        """See `recorder.Geometry`."""
        return drift.embedding_drifts(self._weight.value.detach(), self._initial_Vd)

    def hash(self) -> str:
        """Never called: this matrix is trained."""
        raise NotImplementedError


@final
class Stacked(FullLanes):
    """Stacked lanes."""

    def __init__(self, optimizer: Optimizer, shape: Shape, readout: nn.Parameter) -> None:
        super().__init__(optimizer, shape, readout)
        self._weights: dict[int, LaneTensor] = {}

    def replacements(self, model: Any) -> dict[nn.Module, nn.Module]:
        """See `Lanes`."""
        self.leave_undecayed(model)
        return leaves_for(model, self)

    def matrix(self, parameter: Tensor, *, transposed: bool = False) -> StackedMatrix:
        """See `FullLanes`."""
        if parameter is not self.readout and id(parameter) in self._tables:
            raise NotFusable("a matrix that is not the readout is used for lookups and for products")
        if id(parameter) not in self._weights:
            self._weights[id(parameter)] = self.parameters.matrix(parameter.T if transposed else parameter)
        return StackedMatrix(self._weights[id(parameter)], self)

    def table(self, parameter: Tensor) -> StackedMatrix | OwnRows:
        """See `FullLanes`."""
        if parameter is self.readout:
            return self.matrix(parameter)
        self._only_table(parameter)
        if id(parameter) in self._weights:
            raise NotFusable("a matrix that is not the readout is used for lookups and for products")
        if self.shape.in_batches:  # any row may be looked up
            return StackedMatrix(self.parameters.matrix(parameter), self)
        like = parameter.new_zeros(self.shape.tokens, parameter.shape[1])
        return OwnRows(WholeMatrix(parameter), self.parameters.matrix(like))

    def geometry(self) -> StackedGeometry:
        """See `FullLanes`."""
        return StackedGeometry(self._weights[id(self.readout)], self.readout)
