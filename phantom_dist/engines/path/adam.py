"""AdamW, entry by entry, on the interpolated gradient, in strides of several steps.

Two approximations make a stride of k steps as cheap as one step. The gradient is linear within it, so both moments
after it are exact sums. The direction m̂/(√v̂ + ε) is linear between its values before and after it. The first strides
are single steps, because there the moments (and LoRA's factor A, whose gradient starts at 0) change most.

Everywhere on the path the gradient is a combination of the points' gradients D_i, so after any stride m̂ is a linear
form in an entry's D_i, and v̂ a quadratic one. Their coefficients are the same for all entries and follow from Adam's
recursion on numbers (`_Forms`). So an entry's directions need no recursion, and a walk is one pass over the D_i.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from phantom_dist.engines.path.walk import Trajectory, Walk
from phantom_dist.instruments.kernel_rate import along_first_direction, inner_product

LARGE = 1 << 24
"""From this many entries on, `trajectory` walks only a sample of them; the probe's last correction makes up for it."""

SAMPLED = 17
"""The sample takes every 17th entry. A prime, so that it covers all columns of a matrix."""

_BLOCK = 1 << 15
"""Entries of a block on a CPU, whose directions after all strides stay in a core's cache."""

Numbers = npt.NDArray[np.float64]


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

    def _prepare(self) -> None:
        self._sampled: list[Tensor] = []
        self._offset = 0.0  # ⟨−∇ℓ at the last point, θ_0 − θ of that point⟩, over the sample if there is one
        self._moved: Tensor | None = None
        self._scale = 1.0  # multiplies a sample's sums, so that the first slope is exact

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

    def distance_per_rate(self) -> float:
        """See `Walk`; x is the sum of the rates."""
        return 1.0

    def _point_added(self, moved: Tensor | None) -> None:
        if len(self.initial) >= LARGE:
            self._sampled.append(_sample(self._descents[-1]))
        if moved is not None:
            last = _sample(moved) if self._sampled else moved
            self._offset = inner_product((self._sampled or self._descents)[-1], last)

    def _first_slope(self) -> float:
        # Of the direction without decay, whose part `_trajectory` has from `_pulls`.
        slope = self._slope_over(self._descents[0])
        if self._sampled:
            self._scale = slope / self._slope_over(self._sampled[0])
        return slope + self.optimizer.weight_decay * float(self._pulls[0])

    def _slope_over(self, descent: Tensor) -> float:
        return along_first_direction(
            descent, descent, descent, self.optimizer.without_decay, self.first_scale
        )

    def trajectory(self, rate: float, steps: int) -> Trajectory:
        """See `Walk`; walks a sample where there are `LARGE` entries or more."""
        return self._trajectory(self._forms(rate, steps))

    def state(self, rate: float, steps: int) -> tuple[Tensor, Trajectory]:
        """See `Walk`; the trajectory is that of a sample where there are `LARGE` entries or more."""
        forms = self._forms(rate, steps)
        if self._moved is None:  # once, since new memory of this size is slow to get
            self._moved = torch.empty_like(self.initial) if self._new is None else self._new()
        moved, whole = self._moved, forms.taken[-1]
        for part, directions_SB in self._directions(forms, self._descents):
            torch.mv(directions_SB.T, directions_SB.new_tensor(whole), out=moved[part])
        if forms.decayed[-1]:
            moved.add_(self.decaying, alpha=float(forms.decayed[-1]))
        return moved, self._trajectory(forms)

    def _forms(self, rate: float, steps: int) -> _Forms:
        """What is the same for all entries of a walk."""
        sizes = strides(steps)
        ends = [0]
        for size in sizes:
            ends.append(ends[-1] + size)
        distances = [rate * sum(self.factors[:end]) for end in ends]
        odds = self.log_odds()
        weights = np.array([self.weights(distance) for distance in distances])
        gradients = weights * np.array(
            [
                [self.scale(odds(distance), own)]
                for distance, own in zip(distances, weights.tolist(), strict=True)
            ]
        )
        averages = [
            _Average(size, self.optimizer.beta1, self.optimizer.beta2, end)
            for size, end in zip(sizes, ends[1:], strict=True)
        ]
        count = len(self.points)
        m, v, ms, vs = np.zeros(count), np.zeros((count, count)), [], []
        for stride, average in enumerate(averages):
            m, v = average.after(m, v, gradients[stride], gradients[stride + 1])
            ms.append(m / average.bias1)
            vs.append(v / average.bias2)
        # A stride's step is the sum of k directions that go linearly from the last stride's (exclusive) to its own. The
        # first stride takes its own direction throughout.
        taken, decayed = np.zeros((len(sizes) + 1, len(sizes))), np.zeros(len(sizes) + 1)
        for stride, size in enumerate(sizes):
            length = (distances[stride + 1] - distances[stride]) / size
            # AdamW's decay multiplies all of θ, so also what has been moved.
            kept = math.prod(
                1 - self.optimizer.weight_decay * rate * factor
                for factor in self.factors[ends[stride] : ends[stride + 1]]
            )
            taken[stride + 1] = kept * taken[stride]
            decayed[stride + 1] = 1 - kept * (1 - decayed[stride])
            if stride == 0:
                taken[1, 0] = length * size
            else:
                taken[stride + 1, stride - 1] += length * (size - 1) / 2
                taken[stride + 1, stride] += length * (size + 1) / 2
        return _Forms(
            efforts=tuple(self.efforts[end] for end in ends),
            distances=tuple(distances),
            weights=weights,
            m=np.array(ms),
            v=np.array(vs),
            taken=taken,
            decayed=decayed,
        )

    def _directions(self, forms: _Forms, descents: Sequence[Tensor]) -> Iterator[tuple[slice, Tensor]]:
        """Block by block of entries: the direction after every stride, (S, B); valid until the next block."""
        first = descents[0]
        squares = [(i, j) for i in range(len(descents)) for j in range(i, len(descents))]
        m_SP = first.new_tensor(forms.m)
        v_SQ = first.new_tensor(
            np.stack([forms.v[:, i, j] * (1 if i == j else 2) for i, j in squares], axis=1)
        )
        block = min(len(first), _BLOCK if first.device.type == "cpu" else 1 << 24)
        counts = (len(descents), len(squares), len(m_SP), len(m_SP))
        buffers = [first.new_empty(count, block) for count in counts]
        for start in range(0, len(first), block):
            part = slice(start, min(start + block, len(first)))
            d_PB, q_QB, m_SB, v_SB = (buffer[:, : part.stop - start] for buffer in buffers)
            for row_B, descent in zip(d_PB, descents, strict=True):
                row_B.copy_(descent[part])
            for row_B, (i, j) in zip(q_QB, squares, strict=True):
                torch.mul(d_PB[i], d_PB[j], out=row_B)
            torch.mm(m_SP, d_PB, out=m_SB)
            torch.mm(v_SQ, q_QB, out=v_SB)
            # Where the gradient changes its sign, rounding might make v̂ negative.
            yield part, m_SB.div_(v_SB.clamp_(min=0).sqrt_().add_(self.optimizer.epsilon))

    def _along(self, forms: _Forms, descents: Sequence[Tensor]) -> Numbers:
        """⟨D_i, direction after stride s⟩ over all entries, (P, S)."""
        sums_PS = torch.zeros(len(descents), len(forms.m), dtype=torch.float64, device=descents[0].device)
        for part, directions_SB in self._directions(forms, descents):
            sums_PS += torch.stack([descent[part] for descent in descents]) @ directions_SB.T
        products: Numbers = sums_PS.cpu().numpy()
        return products

    def _trajectory(self, forms: _Forms) -> Trajectory:
        """ℓ after each stride, anchored at the measured points; over the sample if there is one."""
        products_PS = self._scale * self._along(forms, self._sampled or self._descents)
        # The rise of ℓ, ⟨−∇ℓ, step⟩, by the trapezoidal rule; and how far θ is off the last point.
        steps_SS, means_SP = np.diff(forms.taken, axis=0), (forms.weights[:-1] + forms.weights[1:]) / 2
        pulls_P = self._pulls.numpy()
        rises = np.einsum("sp,pq,sq->s", means_SP, products_PS, steps_SS)
        rises += means_SP @ pulls_P * np.diff(forms.decayed)
        offsets = forms.taken @ products_PS[-1] + forms.decayed * pulls_P[-1] - self._scale * self._offset
        risen = [0.0, *np.cumsum(rises).tolist()]
        odds = self.anchored(forms.distances, risen, offsets.tolist())
        return Trajectory(forms.efforts, forms.distances, tuple(odds))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Forms:
    """A walk of S strides on the gradients of P points, as coefficients that all entries share.

    Attributes:
        efforts, distances: at the start and after each stride.
        weights: of the points' −∇ℓ in the interpolated one, at the start and after each stride; (S + 1, P).
        m, v: m̂ and v̂ after each stride as forms in −∇ℓ at the points; (S, P) and, symmetric, (S, P, P).
        taken, decayed: of each stride's direction and of the decaying θ_0 in θ_0 − θ, at the start and after each
            stride; (S + 1, S) and (S + 1,).
    """

    efforts: tuple[float, ...]
    distances: tuple[float, ...]
    weights: Numbers
    m: Numbers
    v: Numbers
    taken: Numbers
    decayed: Numbers


class _Average:
    """Adam's two moving averages over a stride of k steps in which the gradient goes linearly from a to b.

    Step j = 1..k has the gradient a + f_j (b − a) with f_j = (j − 1)/k. So after the stride m = β1^k m + Σ_j (1 − β1)
    β1^(k−j) (a + f_j (b − a)), which is a combination of m, a and b; and v one of v, a², a b and b². The constructor
    computes the coefficients. `taken`: steps after the stride, for the bias corrections `bias1`, `bias2`.
    """

    def __init__(self, size: int, beta1: float, beta2: float, taken: int) -> None:
        fractions = [(j - 1) / size for j in range(1, size + 1)]
        self._decay1, self._decay2 = beta1**size, beta2**size
        weights1 = [(1 - beta1) * beta1 ** (size - j) for j in range(1, size + 1)]
        weights2 = [(1 - beta2) * beta2 ** (size - j) for j in range(1, size + 1)]
        self._m_b = sum(w * f for w, f in zip(weights1, fractions, strict=True))
        self._m_a = sum(weights1) - self._m_b
        self._v_bb = sum(w * f * f for w, f in zip(weights2, fractions, strict=True))
        self._v_ab = sum(2 * w * f * (1 - f) for w, f in zip(weights2, fractions, strict=True))
        self._v_aa = sum(w * (1 - f) ** 2 for w, f in zip(weights2, fractions, strict=True))
        self.bias1, self.bias2 = 1 - beta1**taken, 1 - beta2**taken

    def after(self, m: Numbers, v: Numbers, a: Numbers, b: Numbers) -> tuple[Numbers, Numbers]:
        """Both averages after the stride, as a linear form (P,) and a quadratic one (P, P).

        Args:
            m, v: the averages before it.
            a, b: the gradient where it begins and ends, as linear forms.
        """
        mixed = (np.outer(a, b) + np.outer(b, a)) / 2
        squares = self._v_aa * np.outer(a, a) + self._v_ab * mixed + self._v_bb * np.outer(b, b)
        return self._decay1 * m + self._m_a * a + self._m_b * b, self._decay2 * v + squares


def _sample(entries: Tensor) -> Tensor:
    return entries[::SAMPLED].contiguous()
