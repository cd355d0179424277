"""A matrix in the dual form, without a copy per lane; `dual` has the formulas."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from phantom_dist.engines.lanes.frozen_matrix import Product
from phantom_dist.engines.lanes.tape import Inputs, Tape


class DualMatrix:
    """A matrix of every lane: W_0, which all share, plus each lane's steps as factors x_r and δ_r (`dy` here)."""

    def __init__(self, tape: Tape, untouched: Product) -> None:
        self.tape = tape
        self._untouched = untouched
        self.inputs: Inputs | None = None
        self.dy_LTKo: Tensor | None = None
        self._learnt_at = -1
        tape.at_end_of_step(self._end_step)

    def product(self, x: Tensor) -> Tensor:
        """See `kind.Matrix`."""
        x_LKi = x.reshape(self.tape.lanes, -1, x.shape[-1])
        if self.inputs is None:
            self.inputs = self.tape.inputs_of(x, x_LKi)
            self.dy_LTKo = self.tape.buffer(x_LKi, self._untouched.shape[0])
        if self.tape.learns and not x.requires_grad:
            raise RuntimeError("a trained matrix got activations that require no gradient")
        self.inputs.take(x, x_LKi.detach())
        y_LKo: Tensor = _Product.apply(x_LKi, self)  # type: ignore[no-untyped-call]
        return y_LKo.reshape(*x.shape[:-1], -1)

    def forward(self, x_LKi: Tensor) -> Tensor:
        """y = a x W_0ᵀ + Σ_r c_r (x x_rᵀ) δ_r, outside autograd."""
        assert self.inputs is not None
        assert self.dy_LTKo is not None
        y_LKo = self.tape.decayed(self._untouched.times_transposed(x_LKi))
        if self.tape.step:
            y_LKo.baddbmm_(self.inputs.weighted_LKR, self.tape.first_steps(self.dy_LTKo, self.tape.step))
        return y_LKo

    def backward(self, dy_LKo: Tensor) -> Tensor:
        """dx; stores dy, and adds the inner products of the gradient dyᵀ x to the tape."""
        assert self.inputs is not None
        assert self.dy_LTKo is not None
        tape, step = self.tape, self.tape.step
        self._learnt_at = step
        # 1. Store δ = dy of this step; δ δ_rᵀ for all steps, which gives the gradients' inner products.
        self.dy_LTKo[: tape.lanes, step].copy_(dy_LKo)
        cross_LKR = torch.bmm(dy_LKo, tape.first_steps(self.dy_LTKo, step + 1).mT)
        tape.compare(cross_LKR, self.inputs.cross_LKR)
        # 2. dx = a δ W_0 + Σ_r c_r (δ δ_rᵀ) x_r.
        dx_LKi = tape.decayed(self._untouched.times(dy_LKo))
        if step:
            x_LRi = tape.first_steps(self.inputs.x_LTKi, step)
            earlier = step * dy_LKo.shape[1]
            dx_LKi.baddbmm_(tape.weighted(cross_LKR[..., :earlier]), x_LRi)
        return dx_LKi

    def _end_step(self) -> None:
        """Store zeros if no gradient arrived, because the loss doesn't depend on the matrix."""
        if self.dy_LTKo is not None and self._learnt_at < self.tape.step:
            self.dy_LTKo[: self.tape.lanes, self.tape.step] = 0.0


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_LKi: Tensor, matrix: DualMatrix) -> Tensor:
        ctx.matrix = matrix
        return matrix.forward(x_LKi)

    @staticmethod
    def backward(ctx: Any, dy_LKo: Tensor) -> tuple[Tensor, None]:
        return ctx.matrix.backward(dy_LKo), None
