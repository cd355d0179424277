"""What each lane has for itself: one row of numbers a lane, trained by the reference's own optimizer, one a lane."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

from phantom_dist.core.trial import Optimizer
from phantom_dist.engines.lanes.rows import select_rows
from phantom_dist.engines.optimizers import torch_optimizer

_ALIGNMENT = 16
"""Tensors begin at multiples of so many entries of a row: 64 bytes in float32, a cache line."""


class LaneTensor:
    """One tensor that differs from lane to lane.

    `value` is (L, *shape), requires a gradient and collects it in place in `value.grad`; as lanes don't mix, the
    gradient of the sum of their losses is each lane's own.
    """

    value: Tensor

    def __init__(self, shape: torch.Size) -> None:
        self.shape = shape

    @property
    def gradient(self) -> Tensor:
        """Where the gradient is collected, (L, *shape)."""
        assert self.value.grad is not None
        return self.value.grad

    def rows(self, ids_LK: Tensor) -> Tensor:
        """Rows of each lane's matrix, (L, o, i) and (L, K) -> (L, K, i); gradients are collected as everywhere."""
        rows_LKi: Tensor = _Rows.apply(self.value, ids_LK, self)
        return rows_LKi


class _Rows(torch.autograd.Function):
    """autograd's own would make a gradient of the whole matrix's size before it is added."""

    @staticmethod
    def forward(ctx: Any, value_Loi: Tensor, ids_LK: Tensor, tensor: LaneTensor) -> Tensor:
        ctx.ids_LK, ctx.tensor = ids_LK, tensor
        return value_Loi.gather(1, ids_LK[..., None].expand(-1, -1, value_Loi.shape[2]))

    @staticmethod
    def backward(ctx: Any, drows_LKi: Tensor) -> tuple[None, None, None]:
        ctx.tensor.gradient.scatter_add_(1, ctx.ids_LK[..., None].expand_as(drows_LKi), drows_LKi)
        return None, None, None


class LaneParameters:
    """Two buffers (capacity, N), values and gradients, and the lane tensors as views of them."""

    def __init__(self) -> None:
        self._initial: list[tuple[LaneTensor, Tensor]] = []
        self._rows: list[nn.Parameter] = []
        self._optimizers: list[torch.optim.Optimizer] = []

    def add(self, initial: Tensor, lanes: int | None = None) -> LaneTensor:
        """A tensor with the same initial value for all lanes, (*shape); or one for each of so many, (lanes, *shape)."""
        tensor = LaneTensor(initial.shape if lanes is None else initial.shape[1:])
        self._initial.append((tensor, initial.detach()))
        return tensor

    def allocate(self, lanes: int, capacity: int) -> None:
        """Room for `capacity` lanes; so many of them are there and get the initial values."""
        self._tensors = [tensor for tensor, _ in self._initial]
        sizes = (math.ceil(math.prod(t.shape) / _ALIGNMENT) * _ALIGNMENT for t in self._tensors)
        *self._starts, width = accumulate(sizes, initial=0)
        like = self._initial[0][1]
        self._values_LN = like.new_zeros(capacity, width)
        self._gradients_LN = like.new_zeros(capacity, width)
        self._show(lanes)
        with torch.no_grad():
            for tensor, initial in self._initial:
                tensor.value.copy_(initial)
        self._initial.clear()

    def clear_gradients(self) -> None:
        """Zero the gradients of all lanes."""
        self._gradients_LN[: self._lanes].zero_()

    def squared_gradient_norms(self) -> Tensor:
        """‖·‖² of each lane's gradient; (L,), float64."""
        return torch.linalg.vector_norm(self._gradients_LN[: self._lanes], dim=1).double().square()

    def start(self, optimizer: Optimizer) -> None:
        """Give every lane an optimizer that has taken no steps."""
        self._rows = [nn.Parameter(row) for row in self._values_LN[: self._lanes]]
        self._optimizers = [torch_optimizer([row], optimizer) for row in self._rows]
        self._bind()

    def update(self, rates: Sequence[float]) -> None:
        """One step of each lane's optimizer at the lane's learning rate."""
        for optimizer, rate in zip(self._optimizers, rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate
            optimizer.step()

    def select(self, index: Sequence[int]) -> None:
        """Lane j becomes what lane index[j] was; see `select_rows`."""
        for buffer_LN in (self._values_LN, self._gradients_LN):
            select_rows(buffer_LN, index)
        self._show(len(index))
        if self._optimizers:
            self._rows = [self._rows[i] for i in index]
            self._optimizers = [self._optimizers[i] for i in index]
            self._bind()

    def _bind(self) -> None:
        for lane, row in enumerate(self._rows):
            row.data, row.grad = self._values_LN[lane], self._gradients_LN[lane]

    def _show(self, lanes: int) -> None:
        """Point every tensor at the rows of so many lanes."""
        self._lanes = lanes
        for tensor, start in zip(self._tensors, self._starts, strict=True):
            part = slice(start, start + math.prod(tensor.shape))
            tensor.value = self._values_LN[:lanes, part].unflatten(1, tensor.shape).requires_grad_()
            tensor.value.grad = self._gradients_LN[:lanes, part].unflatten(1, tensor.shape)
