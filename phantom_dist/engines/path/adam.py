"""AdamW, entry by entry: its recursion on the interpolated gradient, in strides of several steps.

Two approximations make a stride of k steps as cheap as one step. The gradient is linear within it, so both moments
after it are exact sums. The direction m̂/(√v̂ + ε) is linear between its values before and after it. The first strides
are single steps, because there the moments (and LoRA's factor A, whose gradient starts at 0) change most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from phantom_dist.core.trial import Problem
from phantom_dist.engines.coordinates import Coordinates
from phantom_dist.engines.path.walk import Trajectory, Walk, remainder
from phantom_dist.instruments.kernel_rate import first_direction, inner_product

LARGE = 1 << 24
"""From this many entries on, `trajectory` walks only a sample of them; the probe's last correction makes up for it."""

SAMPLED = 17
"""The sample takes every 17th entry. A prime, so that it covers all columns of a matrix."""

_BLOCK = 1 << 18
"""Entries in a block that takes all strides before the next, on a CPU: its dozen arrays fit the caches of two cores."""


def strides(steps: int) -> list[int]:
    """Stride lengths that sum to `steps`: 1, 1, 2, 4, … up to an eighth of the steps (at least 2)."""
    sizes: list[int] = []
    while (remaining := steps - sum(sizes)) > 0:
        sizes.append(min(remaining, max(2, steps // 8), 1 if len(sizes) < 2 else 2 * sizes[-1]))
    return sizes


@final
class AdamWalk(Walk):
    """See `walk.Walk`. Two solves suffice: the path to a state hardly depends on the learning rate."""

    solves = 2
    long_shares = (0.25, 0.5, 0.75, 1.0)

    def __init__(self, problem: Problem, initial: Tensor) -> None:
        super().__init__(problem, initial)
        self._sampled: list[Tensor] = []
        self._sampled_last: Tensor
        self._scale = 1.0  # multiplies a sample's sums, so that the first slope is exact

    @classmethod
    def around(cls, problem: Problem, coordinates: Coordinates) -> AdamWalk:
        """See `Walk`."""
        return cls(problem, coordinates.origin)

    @staticmethod
    def first_distance(first_order: float, steps: int, adapters_rms: float | None) -> float:
        """See `Walk`: a little less than first order, the more so the larger T.

        LoRA: B grows with the distance x, which lets A grow too, whose part in the gap is quadratic in x:
        g = g_0 + κ x (1 + α x / rms(A)), with α = 4.3 (T / 8)^0.37. The constants are rounded fits to the zoo: they
        place the points, and the resulting critical rate hardly depends on them.
        """
        if adapters_rms is None:
            return first_order * (0.98 * math.pow(steps / 8, -0.04))
        growth = 4.3 * math.pow(steps / 8, 0.37) * first_order / adapters_rms
        return first_order * ((math.sqrt(1 + 4 * growth) - 1) / (2 * growth))

    @staticmethod
    def bytes_moved(steps: int) -> float:
        """See `Walk`."""
        return 400 + 21 * steps

    def distance_per_rate(self) -> float:
        """See `Walk`; x is the sum of the rates."""
        return 1.0

    def _point_added(self) -> None:
        if len(self.initial) >= LARGE:
            self._sampled.append(_sample(self._descents[-1]))
            self._sampled_last = _sample(self._last)

    def _first_slope(self) -> float:
        slope = self._slope_over(self._descents[0], self.initial)
        if self._sampled:
            self._scale = slope / self._slope_over(self._sampled[0], _sample(self.initial))
        return slope

    def _slope_over(self, descent: Tensor, initial: Tensor) -> float:
        gradient = descent * remainder(self.points[0].log_odds)
        return inner_product(descent, first_direction(gradient, initial, self.optimizer))

    def trajectory(self, rate: float, steps: int) -> Trajectory:
        """See `Walk`; walks a sample where there are `LARGE` entries or more."""
        if not self._sampled:
            return self._walk(rate, steps, self._descents, self._last)
        return self._walk(rate, steps, self._sampled, self._sampled_last, scale=self._scale)

    def state(self, rate: float, steps: int) -> tuple[Tensor, Trajectory]:
        """See `Walk`."""
        moved = torch.empty_like(self.initial)
        return moved, self._walk(rate, steps, self._descents, self._last, moved)

    def _walk(
        self,
        rate: float,
        steps: int,
        descents: Sequence[Tensor],
        last_moved: Tensor,
        moved: Tensor | None = None,
        scale: float = 1.0,
    ) -> Trajectory:
        # 1. Per stride end: the step, the distance x, 1 − p_t, and the points' weights in the interpolated ∇ℓ.
        sizes = strides(steps)
        ends = [0]
        for size in sizes:
            ends.append(ends[-1] + size)
        distances = [rate * sum(self.factors[:end]) for end in ends]
        odds = self.log_odds()
        remainders = [remainder(odds(distance)) for distance in distances]
        weights = [self.weights(distance) for distance in distances]
        averages = [
            _Average(size, self.optimizer.beta1, self.optimizer.beta2, end)
            for size, end in zip(sizes, ends[1:], strict=True)
        ]
        # 2. All strides of one block of entries, then the next block: Adam's recursion doesn't couple entries.
        rises = torch.zeros(len(sizes), dtype=torch.float64, device=self.initial.device)
        offsets = torch.zeros(len(sizes) + 1, dtype=torch.float64, device=self.initial.device)
        block = _BLOCK if self.initial.device.type == "cpu" else 1 << 26
        for start in range(0, len(last_moved), block):
            part = slice(start, start + block)
            parts = [descent[part] for descent in descents]
            last, last_shift = parts[-1], last_moved[part]
            # m, v: Adam's moments; shift: θ_0 − θ so far; descent: −∇ℓ where the stride begins.
            m, v, shift = (torch.zeros_like(last) for _ in range(3))
            descent, direction = _mixed(parts, weights[0]), None
            offsets[0] += torch.dot(last, -last_shift)
            for stride, average in enumerate(averages):
                # 2a. The gradient −(1 − p_t) ∇ℓ at both ends of the stride, and the moments after it.
                next_descent = _mixed(parts, weights[stride + 1])
                average.into(m, v, descent * remainders[stride], next_descent * remainders[stride + 1])
                next_direction = average.direction(m, v, self.optimizer.epsilon)
                # 2b. The stride: the sum of k directions that go linearly from the last stride's direction
                # (exclusive) to this one's. The first stride takes its own direction throughout.
                size = average.size
                step = (
                    next_direction * size
                    if direction is None
                    else direction.mul_((size - 1) / 2).add_(next_direction, alpha=(size + 1) / 2)
                )
                step.mul_((distances[stride + 1] - distances[stride]) / size)
                shift.add_(step)
                # 2c. The rise of ℓ, ⟨−∇ℓ, step⟩, by the trapezoidal rule; and how far θ is off the last point.
                rises[stride] += torch.dot(descent.add_(next_descent), step) / 2
                offsets[stride + 1] += torch.dot(last, shift) - torch.dot(last, last_shift)
                descent, direction = next_descent, next_direction
            if moved is not None:
                moved[part] = shift
        # 3. ℓ after each stride, anchored at the measured points.
        risen = [0.0, *(torch.cumsum(rises, 0) * scale).tolist()]
        efforts = tuple(self.efforts[end] for end in ends)
        return Trajectory(
            efforts, tuple(distances), tuple(self.anchored(distances, risen, (offsets * scale).tolist()))
        )


class _Average:
    """Adam's two moving averages over a stride of k steps in which the gradient goes linearly from a to b.

    Step j = 1..k has the gradient a + f_j (b − a) with f_j = (j − 1)/k. So after the stride m = β1^k m + Σ_j (1 − β1)
    β1^(k−j) (a + f_j (b − a)), which is a combination of m, a and b; and v one of v, a², a b and b². The constructor
    computes the coefficients. `taken`: steps after the stride, for the bias correction.
    """

    def __init__(self, size: int, beta1: float, beta2: float, taken: int) -> None:
        self.size = size
        fractions = [(j - 1) / size for j in range(1, size + 1)]
        self._decay1, self._decay2 = beta1**size, beta2**size
        weights1 = [(1 - beta1) * beta1 ** (size - j) for j in range(1, size + 1)]
        weights2 = [(1 - beta2) * beta2 ** (size - j) for j in range(1, size + 1)]
        self._m_b = sum(w * f for w, f in zip(weights1, fractions, strict=True))
        self._m_a = sum(weights1) - self._m_b
        self._v_bb = sum(w * f * f for w, f in zip(weights2, fractions, strict=True))
        self._v_ab = sum(2 * w * f * (1 - f) for w, f in zip(weights2, fractions, strict=True))
        self._v_aa = sum(w * (1 - f) ** 2 for w, f in zip(weights2, fractions, strict=True))
        self._bias1, self._bias2 = 1 - beta1**taken, 1 - beta2**taken

    def into(self, m: Tensor, v: Tensor, a: Tensor, b: Tensor) -> None:
        """Update both averages in place by the stride."""
        m.mul_(self._decay1).add_(a, alpha=self._m_a)
        v.mul_(self._decay2).addcmul_(a, a, value=self._v_aa)
        if self.size > 1:
            m.add_(b, alpha=self._m_b)
            v.addcmul_(a, b, value=self._v_ab).addcmul_(b, b, value=self._v_bb)

    def direction(self, m: Tensor, v: Tensor, epsilon: float) -> Tensor:
        """m̂ / (√v̂ + ε) after the stride."""
        # Where the gradient changes its sign a·b < 0, and rounding might make v negative.
        spread = v.clamp(min=0).sqrt_().mul_(self._bias2**-0.5).add_(epsilon)
        return m.div(self._bias1).div_(spread)


def _sample(entries: Tensor) -> Tensor:
    return entries[::SAMPLED].contiguous()


def _mixed(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    mixed = tensors[0] * weights[0]
    for tensor, weight in zip(tensors[1:], weights[1:], strict=True):
        mixed.add_(tensor, alpha=weight)
    return mixed
