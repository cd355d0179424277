"""What a batch of dual lanes went through: the inputs of every step, and the coefficients that weigh them."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from phantom_dist.engines.lanes.kind import Shape
from phantom_dist.engines.lanes.lane_buffers import select_rows
from phantom_dist.engines.lanes.sgd_coefficients import Coefficients

ALL = slice(None)


class Tape:
    """Where the batch stands, and every buffer of what it went through: (capacity, T, n, width) each.

    `products_Ls`: ⟨this step's gradient, that of step r⟩ over the matrices, as the backward pass adds them up, float64;
    for every r ≤ s where the tape `compares`, else for r = s alone, (L, 1).
    """

    products_Ls: Tensor

    def __init__(
        self, path: Coefficients, shape: Shape, device: torch.device, *, compares: bool = False
    ) -> None:
        self._shape, self._device = shape, device
        self._path, self._compares = path, compares
        self._buffers: list[Tensor] = []
        self._inputs: list[Inputs] = []
        self._at_end: list[Callable[[], None]] = []
        self.lanes = shape.first
        self.step = 0
        self.passes = 0
        self.learns = False

    def buffer(self, like_LnW: Tensor, width: int | None = None) -> Tensor:
        """A new buffer for what has this shape (and perhaps another width) at every step."""
        _, places, own_width = like_LnW.shape
        room = like_LnW.new_empty(self._shape.lanes, self._shape.steps, places, width or own_width)
        self._buffers.append(room)
        return room

    def at_end_of_step(self, finish: Callable[[], None]) -> None:
        """Call this when a step's gradients are all there."""
        self._at_end.append(finish)

    def inputs_of(self, x: Tensor, x_LKi: Tensor) -> Inputs:
        """Where these activations are kept already, if another matrix reads them too; else a new place."""
        for inputs in reversed(self._inputs):
            if inputs.is_of(x):
                return inputs
        self._inputs.append(Inputs(self, x_LKi))
        return self._inputs[-1]

    def begin_step(self, step: int, *, learns: bool) -> None:
        """Look the coefficients of this step up. A step that didn't learn may be begun again, elsewhere."""
        self.step, self.learns = step, learns
        self.passes += 1
        self.past_Ls = self._path.gradients.to(self._device, torch.float32)
        self.start_L = self._path.start.to(self._device)
        self._first = 0 if self._compares else step
        self.products_Ls = torch.zeros(
            self.lanes, step + 1 - self._first, dtype=torch.float64, device=self._device
        )

    def kept(self, value: Tensor, lanes: slice = ALL) -> Tensor:
        """a · value, (L, …): what weight decay has left of the untouched weights' part."""
        if not self._path.decays:
            return value
        return value * self.start_L[lanes].to(value.dtype).view(-1, *[1] * (value.ndim - 1))

    def so_far(self, buffer: Tensor, steps: int) -> Tensor:
        """The first steps of a buffer as (L, steps · n, width)."""
        return buffer[: self.lanes, :steps].flatten(1, 2)

    def weighted(self, cross_LKR: Tensor) -> Tensor:
        """Multiply the columns of each past step r by c_r; (L, K, s n)."""
        steps = self.past_Ls.shape[1]
        weighted_LKsn: Tensor = cross_LKR.unflatten(2, (steps, -1)) * self.past_Ls[:, None, :, None]
        return weighted_LKsn.flatten(2)

    def compare(self, dy_cross_LKR: Tensor, x_cross_LKR: Tensor) -> None:
        """Add ⟨dyᵀ x, dy_rᵀ x_r⟩ = Σ_jk (x_j · x_rk)(dy_j · dy_rk) of a matrix, from both factors' products."""
        steps = self.products_Ls.shape[1]
        part = slice(self._first * dy_cross_LKR.shape[1], None)
        products_LKR = dy_cross_LKR[..., part] * x_cross_LKR[..., part]
        self.products_Ls += products_LKR.unflatten(2, (steps, -1)).sum(dim=(1, 3))

    def select(self, index: Sequence[int]) -> None:
        """Lane j becomes what lane index[j] was."""
        self.lanes = len(index)
        self._path.select(index)
        for buffer in self._buffers:
            select_rows(buffer[:, : self.step + 1], index)

    def end_step(self) -> None:
        """All gradients of this step are there."""
        for finish in self._at_end:
            finish()

    def update(self, rates: Sequence[float]) -> None:
        """The step of every lane at its learning rate."""
        self.end_step()
        self._path.update(rates)


class Inputs:
    """What goes into one matrix, or into several that read the same activations: x_r of every step."""

    def __init__(self, tape: Tape, x_LKi: Tensor) -> None:
        self._tape = tape
        self._seen: weakref.ref[Tensor] | None = None
        self._seen_in = 0
        self.x_LTKi = tape.buffer(x_LKi)
        self.cross_LKR: Tensor
        self.weighted_LKR: Tensor

    def is_of(self, x: Tensor) -> bool:
        """True if the activations are the ones that were taken last."""
        return self._seen is not None and self._seen() is x

    def take(self, x: Tensor, x_LKi: Tensor) -> None:
        """Keep this step's activations, and their products with all earlier ones: once for all matrices.

        Raises:
            RuntimeError: the model gives matrices different activations that shared theirs at the first step.
        """
        if self.is_of(x):
            return
        tape, step = self._tape, self._tape.step
        if self._seen_in == tape.passes:
            raise RuntimeError("matrices that shared their input at the first step have different ones now")
        self._seen, self._seen_in = weakref.ref(x), tape.passes
        if tape.learns:
            self.x_LTKi[: tape.lanes, step].copy_(x_LKi)
        self.cross_LKR = torch.bmm(x_LKi, tape.so_far(self.x_LTKi, step + tape.learns).mT)
        if step:
            self.weighted_LKR = tape.weighted(self.cross_LKR[..., : step * x_LKi.shape[1]])
