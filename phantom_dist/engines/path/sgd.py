"""SGD with or without momentum: θ_0 − θ stays a combination of the points' −∇ℓ, so a walk is a walk of coefficients."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from phantom_dist.core.trial import Problem
from phantom_dist.engines.coordinates import Coordinates
from phantom_dist.engines.path.walk import Course, Walk, remainder
from phantom_dist.instruments.kernel_rate import inner_product

Inner = Callable[[Tensor, Tensor], float]
"""⟨a, b⟩ of two vectors, in whatever coordinates they are."""


@final
class SgdWalk(Walk):
    """See `walk.Walk`. No step costs anything: inner products of the points' gradients are taken once."""

    solves = 3
    long_shares = (0.3, 0.7, 1.0)
    _products: Tensor  # (n, n), float64: ⟨∇ℓ_i, ∇ℓ_j⟩
    _last_coefficients: Tensor

    def __init__(self, problem: Problem, initial: Tensor, inner: Inner = inner_product) -> None:
        super().__init__(problem, initial)
        self._inner = inner

    @classmethod
    def around(cls, problem: Problem, coordinates: Coordinates) -> SgdWalk:
        """See `Walk`."""
        return cls(problem, coordinates.origin, coordinates.inner)

    @staticmethod
    def bytes_moved(steps: int) -> float:
        """See `Walk`."""
        return 270

    def way_per_rate(self) -> float:
        """See `Walk`: x leaves the factor 1 − p_t out."""
        return remainder(self.points[0].log_odds)

    def _added(self) -> None:
        count = len(self._descents)
        products = torch.zeros(count, count, dtype=torch.float64)
        if count > 1:
            products[:-1, :-1] = self._products
        for i, descent in enumerate(self._descents):
            products[i, -1] = products[-1, i] = self._inner(descent, self._descents[-1])
        self._products = products
        if count == 1:
            self._last_coefficients = torch.zeros(1, dtype=torch.float64)
        else:  # the place was reached before its own gradient was known
            self._last_coefficients = torch.cat([self._reached, torch.zeros(1, dtype=torch.float64)])

    def _first_slope(self) -> float:
        return float(self._products[0, 0])

    def course(self, rate: float, steps: int) -> Course:
        """See `Walk`."""
        return self._walk(rate, steps)[0]

    def state(self, rate: float, steps: int) -> tuple[Tensor, Course]:
        """See `Walk`."""
        course, self._reached = self._walk(rate, steps)
        moved = torch.zeros_like(self.initial)
        for coefficient, descent in zip(self._reached.tolist(), self._descents, strict=True):
            moved.add_(descent, alpha=coefficient)
        return moved, course

    def _walk(self, rate: float, steps: int) -> tuple[Course, Tensor]:
        coefficients = torch.zeros(len(self._descents), dtype=torch.float64)
        velocity = torch.zeros_like(coefficients)  # of torch's momentum buffer, in the same coordinates
        end, inside = self.points[-1].way, self.log_odds()
        ways, rises, offsets, odds = [0.0], [0.0], [self._offset(coefficients)], [self.points[0].log_odds]
        here = torch.tensor(self.weights(0.0), dtype=torch.float64)
        for factor in self.factors[:steps]:
            # The loss's gradient is (1 − p_t) ∇ℓ. p_t follows from ℓ: as measured up to the last point, then as walked.
            left = remainder(inside(ways[-1]) if ways[-1] <= end else odds[-1])
            velocity = self.optimizer.momentum * velocity + left * here
            step = rate * factor * velocity
            coefficients = coefficients + step
            ways.append(float(coefficients.sum()))
            # ℓ rises by ⟨−∇ℓ, step⟩, by the trapezium rule over the step.
            there = torch.tensor(self.weights(ways[-1]), dtype=torch.float64)
            rises.append(rises[-1] + float((here + there) / 2 @ self._products @ step))
            offsets.append(self._offset(coefficients))
            odds = self.anchored(ways, rises, offsets)
            here = there
        return Course(self.efforts[: len(ways)], tuple(ways), tuple(odds)), coefficients

    def _offset(self, coefficients: Tensor) -> float:
        return float(self._products[-1] @ (coefficients - self._last_coefficients))
