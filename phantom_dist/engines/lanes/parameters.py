"""The tensors of which each lane has its own copy: one row of a buffer a lane, updated by torch's optimizer kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor

from phantom_dist.core.trial import Optimizer
from phantom_dist.engines.lanes.lane_buffers import select_rows
from phantom_dist.engines.lanes.optimizer import LANE_OPTIMIZERS

_ALIGNMENT = 16
"""Tensors begin at multiples of this many entries of a row: 64 bytes in float32, a cache line."""


class LaneTensor:
    """One tensor that differs from lane to lane.

    `value` (L, *shape) requires a gradient. `gradient`, of the same shape, accumulates the gradient of the sum of all
    lanes' losses; as lanes don't mix, row j is the gradient of lane j's.
    """

    value: Tensor
    gradient: Tensor

    def __init__(self, shape: torch.Size, *, decays: bool = True) -> None:
        self.shape, self.decays = shape, decays
        self._fresh = True
        self._squared_norms_L: Tensor | None = None

    def clear(self) -> None:
        """Drop the gradient, without writing zeros: the next one overwrites it."""
        self._fresh = True

    def rows(self, ids_LK: Tensor) -> Tensor:
        """Rows of each lane's matrix, (L, o, i) and (L, K) -> (L, K, i)."""
        rows_LKi: Tensor = _Rows.apply(self.value, ids_LK, self)  # type: ignore[no-untyped-call]
        return rows_LKi

    def add_product(self, dy_LKo: Tensor, x_LKi: Tensor) -> None:
        """Add dyᵀ x to a matrix's gradient in one pass."""
        self.gradient.baddbmm_(dy_LKo.mT, x_LKi, beta=0 if self._fresh else 1)
        self._added()

    def add_rows(self, ids_LK: Tensor, drows_LKi: Tensor) -> None:
        """Add rows to the rows `ids_LK` of a matrix's gradient."""
        if self._fresh:
            self.gradient.zero_()
        self.gradient.scatter_add_(1, ids_LK[..., None].expand_as(drows_LKi), drows_LKi)
        self._added()

    def _added(self) -> None:
        # Compute the norm while the gradient is in the cache; a later addition recomputes it.
        self._fresh = False
        self._squared_norms_L = torch.linalg.vector_norm(self.gradient, dim=(1, 2)).double().square()

    def complete(self) -> None:
        """Called when this step's gradients are complete: write zeros if there was none."""
        if self._fresh:
            self.gradient.zero_()

    def squared_norms(self) -> Tensor:
        """‖gradient‖² of each lane, (L,), float64; zero if this step had no gradient."""
        if self._fresh:
            return torch.zeros(len(self.gradient), dtype=torch.float64, device=self.gradient.device)
        assert self._squared_norms_L is not None
        return self._squared_norms_L


class _Rows(torch.autograd.Function):
    """A lookup whose backward pass adds rows in place; autograd would first build a gradient of the matrix's size."""

    @staticmethod
    def forward(ctx: Any, value_Loi: Tensor, ids_LK: Tensor, tensor: LaneTensor) -> Tensor:
        ctx.ids_LK, ctx.tensor = ids_LK, tensor
        return value_Loi.gather(1, ids_LK[..., None].expand(-1, -1, value_Loi.shape[2]))

    @staticmethod
    def backward(ctx: Any, drows_LKi: Tensor) -> tuple[None, None, None]:
        ctx.tensor.add_rows(ctx.ids_LK, drows_LKi)
        return None, None, None


class LaneParameters:
    """Two buffers (capacity, N), values and gradients, and the lane tensors as views of them.

    Vectors come first in a row: autograd accumulates their gradients. Matrices accumulate their own, see `LaneTensor`.
    """

    def __init__(self) -> None:
        self._initial: dict[LaneTensor, Tensor] = {}
        self._vectors: list[LaneTensor] = []
        self._matrices: list[LaneTensor] = []

    def vector(self, initial: Tensor, lanes: int | None = None, *, decays: bool = True) -> LaneTensor:
        """A tensor for ordinary use through `value`, with autograd.

        Args:
            initial: one for all lanes, (*shape); or, if `lanes` is given, one for each, (lanes, *shape).
            lanes: number of initial values.
            decays: whether the optimizer's weight decay applies to it.
        """
        tensor = LaneTensor(initial.shape if lanes is None else initial.shape[1:], decays=decays)
        self._initial[tensor] = initial.detach()
        self._vectors.append(tensor)
        return tensor

    def matrix(self, initial_oi: Tensor) -> LaneTensor:
        """A matrix, initially the same for all lanes, used through `rows` and `add_product`."""
        tensor = LaneTensor(initial_oi.shape)
        self._initial[tensor] = initial_oi.detach()
        self._matrices.append(tensor)
        return tensor

    @property
    def tensors(self) -> tuple[LaneTensor, ...]:
        """All lane tensors."""
        return (*self._vectors, *self._matrices)

    def allocate(self, optimizer: Optimizer, lanes: int, capacity: int) -> None:
        """Allocate memory for `capacity` lanes, and give the first `lanes` their initial values."""
        sizes = (math.ceil(math.prod(t.shape) / _ALIGNMENT) * _ALIGNMENT for t in self.tensors)
        *starts, width = accumulate(sizes, initial=0)
        self._starts = dict(zip(self.tensors, starts, strict=True))
        self._vectors_end = starts[len(self._vectors)] if self._matrices else width
        like = next(iter(self._initial.values()))
        # The alignment gaps between tensors are never read.
        self._values_LN = like.new_empty(capacity, width)
        self._gradients_LN = like.new_empty(capacity, width)
        undecayed = [
            slice(start, start + math.prod(tensor.shape))
            for tensor, start in self._starts.items()
            if not tensor.decays
        ]
        self._optimizer = LANE_OPTIMIZERS[optimizer.name](
            optimizer, self._values_LN, self._gradients_LN, undecayed
        )
        self._set_views(lanes)
        with torch.no_grad():
            for tensor, initial in self._initial.items():
                tensor.value.copy_(initial)
        self._initial.clear()

    def clear_gradients(self) -> None:
        """Drop the gradients of all lanes."""
        self._gradients_LN[: self._lanes, : self._vectors_end].zero_()
        for matrix in self._matrices:
            matrix.clear()

    def complete(self) -> None:
        """Called when this step's gradients are complete: write zeros for matrices that got none."""
        for matrix in self._matrices:
            matrix.complete()

    def squared_gradient_norms(self) -> Tensor:
        """‖·‖² of each lane's gradient; (L,), float64."""
        vectors_Ln = self._gradients_LN[: self._lanes, : self._vectors_end]
        squares_L: Tensor = torch.linalg.vector_norm(vectors_Ln, dim=1).double().square()
        self.complete()
        for matrix in self._matrices:
            squares_L += matrix.squared_norms()
        return squares_L

    @torch.no_grad()
    def scale_gradients(self, scales: Sequence[float]) -> None:
        """Multiply each lane's gradient by a number."""
        for gradient_N, scale in zip(self._gradients_LN, scales, strict=False):
            if scale != 1.0:
                gradient_N.mul_(scale)

    def update(self, rates: Sequence[float]) -> None:
        """One optimizer step of each lane at its learning rate."""
        self._optimizer.step(rates)

    def select(self, index: Sequence[int]) -> None:
        """Replace lane j by lane index[j]; see `select_rows`."""
        select_rows(self._values_LN, index)
        select_rows(self._gradients_LN, index)
        self._optimizer.select(index)
        self._set_views(len(index))

    def _set_views(self, lanes: int) -> None:
        """Make every tensor a view of the first `lanes` rows."""
        self._lanes = lanes
        for tensor, start in self._starts.items():
            part = slice(start, start + math.prod(tensor.shape))
            tensor.value = self._values_LN[:lanes, part].unflatten(1, tensor.shape).requires_grad_()
            tensor.gradient = self._gradients_LN[:lanes, part].unflatten(1, tensor.shape)
        for tensor in self._vectors:
            tensor.value.grad = tensor.gradient
