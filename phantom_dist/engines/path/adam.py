"""AdamW, entry by entry: its own recursion on the interpolated gradient, in strides of several steps.

Within a stride of k steps the gradient is taken linear, so both moments after it are exact sums; the direction
m̂/(√v̂ + ε) is taken linear between its values before and after. The first strides are single steps, because there the
moments (and LoRA's second factor, which starts at gradient 0) change most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from phantom_dist.core.trial import Problem
from phantom_dist.engines.coordinates import Coordinates
from phantom_dist.engines.path.walk import Course, Walk, remainder
from phantom_dist.instruments.kernel_rate import first_direction, inner_product

LARGE = 1 << 24
"""From so many entries on, a course comes from a sample of them. What it misses is corrected at the end of the path."""

SAMPLED = 17
"""Every so-many-th entry. A prime, so that the sample runs through all columns of a matrix."""

_BLOCK = 1 << 18
"""Entries that take all strides before the next ones do, on a CPU: their dozen arrays fit the caches of two cores."""


def strides(steps: int) -> list[int]:
    """1, 1, 2, 4, … up to an eighth of the steps (at least 2), together so many steps."""
    sizes: list[int] = []
    while (left := steps - sum(sizes)) > 0:
        sizes.append(min(left, max(2, steps // 8), 1 if len(sizes) < 2 else 2 * sizes[-1]))
    return sizes


@final
class AdamWalk(Walk):
    """See `walk.Walk`. Two solves: the way to a state hardly depends on the rate that it is walked at."""

    solves = 2
    long_shares = (0.25, 0.5, 0.75, 1.0)

    def __init__(self, problem: Problem, initial: Tensor) -> None:
        super().__init__(problem, initial)
        self._sampled: list[Tensor] = []
        self._sampled_last: Tensor
        self._scale = 1.0  # of a sample's sums, so that the first slope is exact

    @classmethod
    def around(cls, problem: Problem, coordinates: Coordinates) -> AdamWalk:
        """See `Walk`."""
        return cls(problem, coordinates.origin)

    @staticmethod
    def bytes_moved(steps: int) -> float:
        """See `Walk`."""
        return 400 + 21 * steps

    def way_per_rate(self) -> float:
        """See `Walk`: x is the sum of the rates."""
        return 1.0

    def _added(self) -> None:
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

    def course(self, rate: float, steps: int) -> Course:
        """See `Walk`; from `LARGE` entries on from a sample of them."""
        if not self._sampled:
            return self._walk(rate, steps, self._descents, self._last)
        return self._walk(rate, steps, self._sampled, self._sampled_last, scale=self._scale)

    def state(self, rate: float, steps: int) -> tuple[Tensor, Course]:
        """See `Walk`."""
        moved = torch.empty_like(self.initial)
        return moved, self._walk(rate, steps, self._descents, self._last, moved)

    def _walk(
        self,
        rate: float,
        steps: int,
        descents: Sequence[Tensor],
        last_place: Tensor,
        moved: Tensor | None = None,
        scale: float = 1.0,
    ) -> Course:
        # 1. The strides, where each ends on the way x, 1 − p_t there, and the points' weights in ∇ℓ there.
        sizes = strides(steps)
        ends = [0]
        for size in sizes:
            ends.append(ends[-1] + size)
        ways = [rate * sum(self.factors[:end]) for end in ends]
        odds = self.log_odds()
        left = [remainder(odds(way)) for way in ways]
        mix = [self.weights(way) for way in ways]
        averages = [
            _Average(size, self.optimizer.beta1, self.optimizer.beta2, end)
            for size, end in zip(sizes, ends[1:], strict=True)
        ]
        # 2. All strides of one block of entries, then the next block: each entry's recursion is its own.
        rises = torch.zeros(len(sizes), dtype=torch.float64, device=self.initial.device)
        offsets = torch.zeros(len(sizes) + 1, dtype=torch.float64, device=self.initial.device)
        block = _BLOCK if self.initial.device.type == "cpu" else 1 << 26
        for start in range(0, len(last_place), block):
            part = slice(start, start + block)
            parts = [descent[part] for descent in descents]
            last, offset = parts[-1], last_place[part]
            # m, v: Adam's moments; way: θ_0 − θ so far; here, there: −∇ℓ where a stride begins and ends.
            m, v, way = (torch.zeros_like(last) for _ in range(3))
            here, before = _mixed(parts, mix[0]), None
            offsets[0] += torch.dot(last, -offset)
            for stride, average in enumerate(averages):
                there = _mixed(parts, mix[stride + 1])
                # The loss's gradient is (1 − p_t) ∇ℓ.
                average.into(m, v, here * left[stride], there * left[stride + 1])
                now = average.direction(m, v, self.optimizer.epsilon)
                size = average.size
                # The k directions of a stride go linearly from `before` (left out) to `now`: their sum. The first
                # stride has no direction before it.
                step = (
                    now * size
                    if before is None
                    else before.mul_((size - 1) / 2).add_(now, alpha=(size + 1) / 2)
                )
                step.mul_((ways[stride + 1] - ways[stride]) / size)
                way.add_(step)
                # ℓ rises by ⟨−∇ℓ, step⟩, by the trapezium rule over the stride.
                rises[stride] += torch.dot(here.add_(there), step) / 2
                offsets[stride + 1] += torch.dot(last, way) - torch.dot(last, offset)
                here, before = there, now
            if moved is not None:
                moved[part] = way
        # 3. ℓ after each stride, anchored at the points that were measured.
        risen = [0.0, *(torch.cumsum(rises, 0) * scale).tolist()]
        efforts = tuple(self.efforts[end] for end in ends)
        return Course(efforts, tuple(ways), tuple(self.anchored(ways, risen, (offsets * scale).tolist())))


class _Average:
    """Adam's two moving averages over a stride of k steps whose gradient goes linearly from a to b.

    Step j = 1..k sees a + (j − 1)/k (b − a).
    """

    def __init__(self, size: int, beta1: float, beta2: float, taken: int) -> None:
        self.size = size
        fractions = [(j - 1) / size for j in range(1, size + 1)]
        self._decay1, self._decay2 = beta1**size, beta2**size
        kept1 = [(1 - beta1) * beta1 ** (size - j) for j in range(1, size + 1)]
        kept2 = [(1 - beta2) * beta2 ** (size - j) for j in range(1, size + 1)]
        self._m_b = sum(k * f for k, f in zip(kept1, fractions, strict=True))
        self._m_a = sum(kept1) - self._m_b
        self._v_bb = sum(k * f * f for k, f in zip(kept2, fractions, strict=True))
        self._v_ab = sum(2 * k * f * (1 - f) for k, f in zip(kept2, fractions, strict=True))
        self._v_aa = sum(k * (1 - f) ** 2 for k, f in zip(kept2, fractions, strict=True))
        self._bias1, self._bias2 = 1 - beta1**taken, 1 - beta2**taken

    def into(self, m: Tensor, v: Tensor, a: Tensor, b: Tensor) -> None:
        """Take the stride in both averages."""
        m.mul_(self._decay1).add_(a, alpha=self._m_a)
        v.mul_(self._decay2).addcmul_(a, a, value=self._v_aa)
        if self.size > 1:
            m.add_(b, alpha=self._m_b)
            v.addcmul_(a, b, value=self._v_ab).addcmul_(b, b, value=self._v_bb)

    def direction(self, m: Tensor, v: Tensor, epsilon: float) -> Tensor:
        """m̂ / (√v̂ + ε) after the stride."""
        # a·b may be negative where the gradient changes its sign; rounding must not make the sum so.
        spread = v.clamp(min=0).sqrt_().mul_(self._bias2**-0.5).add_(epsilon)
        return m.div(self._bias1).div_(spread)


def _sample(entries: Tensor) -> Tensor:
    return entries[::SAMPLED].contiguous()


def _mixed(tensors: Sequence[Tensor], weights: Sequence[float]) -> Tensor:
    mixed = tensors[0] * weights[0]
    for tensor, weight in zip(tensors[1:], weights[1:], strict=True):
        mixed.add_(tensor, alpha=weight)
    return mixed
