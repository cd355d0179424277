"""The history of a batch of dual lanes: inputs and output gradients of every step, and the steps' coefficients."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from phantom_dist.engines import kept_memory
from phantom_dist.engines.lanes.kind import Shape
from phantom_dist.engines.lanes.lane_buffers import select_rows
from phantom_dist.engines.lanes.sgd_coefficients import Coefficients

ALL = slice(None)


class Tape:
    """The current step's coefficients, and every buffer of the history: (capacity, T, n, width) each.

    `lanes`: lanes now. `step`: s. `learns`: whether a backward pass follows. `past_Ls`: c_r of each earlier step;
    `start_L`: a.
    `products_Ls`: ⟨this step's gradient, that of step r⟩, float64, summed over the matrices during the backward pass;
    for every r ≤ s if the tape `compares`, else for r = s only, (L, 1).
    """

    products_Ls: Tensor

    def __init__(
        self, path: Coefficients, shape: Shape, device: torch.device, *, compares: bool = False
    ) -> None:
        self._shape, self._device = shape, device
        self._path, self._compares = path, compares
        self._buffers: list[Tensor] = []
        self._memory: list[Tensor] = []
        self._inputs: list[Inputs] = []
        self._at_end: list[Callable[[], None]] = []
        self.lanes = shape.first
        self.step = 0
        self.passes = 0
        self.learns = False

    def buffer(self, like_LnW: Tensor, width: int | None = None) -> Tensor:
        """A new buffer for tensors of this shape (perhaps with another width), one for each step."""
        _, positions, own_width = like_LnW.shape
        shape = (self._shape.lanes, self._shape.steps, positions, width or own_width)
        entries = math.prod(shape)
        self._memory.append(kept_memory.take(entries, like_LnW))
        self._buffers.append(self._memory[-1][:entries].view(shape))
        return self._buffers[-1]

    def close(self) -> None:
        """Leave the buffers' memory to the next batch; the tape can't be used any more."""
        kept_memory.give_back(self._memory)
        self._memory.clear()
        self._buffers.clear()

    def at_end_of_step(self, finish: Callable[[], None]) -> None:
        """Register a function to call when a step's gradients are complete."""
        self._at_end.append(finish)

    def inputs_of(self, x: Tensor, x_LKi: Tensor) -> Inputs:
        """The inputs that already store these activations for another matrix, or new ones."""
        for inputs in reversed(self._inputs):
            if inputs.is_of(x):
                return inputs
        self._inputs.append(Inputs(self, x_LKi))
        return self._inputs[-1]

    def begin_step(self, step: int, *, learns: bool) -> None:
        """Load the coefficients for this step. A step that doesn't learn may be begun again, at another point."""
        self.step, self.learns = step, learns
        self.passes += 1
        self.past_Ls = self._path.gradients.to(self._device, torch.float32)
        self.start_L = self._path.start.to(self._device)
        self._first = 0 if self._compares else step
        self.products_Ls = torch.zeros(
            self.lanes, step + 1 - self._first, dtype=torch.float64, device=self._device
        )

    def decayed(self, value: Tensor, lanes: slice = ALL) -> Tensor:
        """a · value, (L, …), for terms of the untouched weights, which weight decay shrinks to a W_0."""
        if not self._path.decays:
            return value
        return value * self.start_L[lanes].to(value.dtype).view(-1, *[1] * (value.ndim - 1))

    def first_steps(self, buffer: Tensor, steps: int) -> Tensor:
        """The first `steps` steps of a buffer as (L, steps · n, width)."""
        return buffer[: self.lanes, :steps].flatten(1, 2)

    def weighted(self, cross_LKR: Tensor) -> Tensor:
        """Multiply the columns of each earlier step r by c_r; (L, K, s n)."""
        steps = self.past_Ls.shape[1]
        weighted_LKsn: Tensor = cross_LKR.unflatten(2, (steps, -1)) * self.past_Ls[:, None, :, None]
        return weighted_LKsn.flatten(2)

    def compare(self, dy_cross_LKR: Tensor, x_cross_LKR: Tensor) -> None:
        """Add a matrix's ⟨dyᵀ x, dy_rᵀ x_r⟩ = Σ_jk (x_j · x_rk)(dy_j · dy_rk), from the products of both factors."""
        steps = self.products_Ls.shape[1]
        part = slice(self._first * dy_cross_LKR.shape[1], None)
        products_LKR = dy_cross_LKR[..., part] * x_cross_LKR[..., part]
        self.products_Ls += products_LKR.unflatten(2, (steps, -1)).sum(dim=(1, 3))

    def select(self, index: Sequence[int]) -> None:
        """Replace lane j by lane index[j]."""
        self.lanes = len(index)
        self._path.select(index)
        for buffer in self._buffers:
            select_rows(buffer[:, : self.step + 1], index)

    def end_step(self) -> None:
        """Called when this step's gradients are complete."""
        for finish in self._at_end:
            finish()

    def clip(self, scales: Sequence[float]) -> None:
        """Multiply the gradient of this step by a number for each lane."""
        self._path.clip(scales)

    def update(self, rates: Sequence[float]) -> None:
        """One step of each lane at its learning rate."""
        self.end_step()
        self._path.update(rates)


class Inputs:
    """The inputs x_r of every step, of one matrix or of several that read the same activations.

    `cross_LKR`: x x_rᵀ of this step's activations with all steps so far. `weighted_LKR`: the same for earlier steps,
    times c_r.
    """

    def __init__(self, tape: Tape, x_LKi: Tensor) -> None:
        self._tape = tape
        self._seen: weakref.ref[Tensor] | None = None
        self._seen_in = 0
        self.x_LTKi = tape.buffer(x_LKi)
        self.cross_LKR: Tensor
        self.weighted_LKR: Tensor

    def is_of(self, x: Tensor) -> bool:
        """True if these are the activations that `take` stored last."""
        return self._seen is not None and self._seen() is x

    def take(self, x: Tensor, x_LKi: Tensor) -> None:
        """Store this step's activations and their products with all earlier ones; once for all matrices.

        Raises:
            RuntimeError: matrices that shared their activations at the first step get different ones.
        """
        if self.is_of(x):
            return
        tape, step = self._tape, self._tape.step
        if self._seen_in == tape.passes:
            raise RuntimeError("matrices that shared their input at the first step now get different inputs")
        self._seen, self._seen_in = weakref.ref(x), tape.passes
        if tape.learns:
            self.x_LTKi[: tape.lanes, step].copy_(x_LKi)
        self.cross_LKR = torch.bmm(x_LKi, tape.first_steps(self.x_LTKi, step + tape.learns).mT)
        if step:
            self.weighted_LKR = tape.weighted(self.cross_LKR[..., : step * x_LKi.shape[1]])
