"""SGD with or without momentum: θ_0 − θ stays a combination of the points' −∇ℓ, so a walk updates coefficients only."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import torch
from torch import Tensor

from phantom_dist.core.trial import Problem
from phantom_dist.engines.coordinates import Coordinates
from phantom_dist.engines.path.walk import Trajectory, Walk, remainder
from phantom_dist.instruments.kernel_rate import inner_product

Inner = Callable[[Tensor, Tensor], float]
"""⟨a, b⟩ of two vectors, in the walk's coordinates."""


@final
class SgdWalk(Walk):
    """See `walk.Walk`. Steps cost next to nothing: they use the points' gradients' inner products, computed once."""

    solves = 3
    _products: Tensor  # (n, n), float64: ⟨∇ℓ_i, ∇ℓ_j⟩
    _last_coefficients: Tensor

    def __init__(self, problem: Problem, initial: Tensor, inner: Inner = inner_product) -> None:
        super().__init__(problem, initial)
        self._inner = inner

    @classmethod
    def around(cls, problem: Problem, coordinates: Coordinates) -> SgdWalk:
        """See `Walk`."""
        return cls(problem, coordinates.origin, coordinates.inner)

    def distance_per_rate(self) -> float:
        """See `Walk`; a step at the rate η advances x by η (1 − p_t), for ∇L = −(1 − p_t) ∇ℓ."""
        return remainder(self.points[0].log_odds)

    def _point_added(self, moved: Tensor | None) -> None:
        count = len(self._descents)
        products = torch.zeros(count, count, dtype=torch.float64)
        if count > 1:
            products[:-1, :-1] = self._products
        for i, descent in enumerate(self._descents):
            products[i, -1] = products[-1, i] = self._inner(descent, self._descents[-1])
        self._products = products
        if count == 1:
            self._last_coefficients = torch.zeros(1, dtype=torch.float64)
        else:  # the walk reached this point before its gradient was known, so its coefficient is 0
            self._last_coefficients = torch.cat([self._reached, torch.zeros(1, dtype=torch.float64)])

    def _first_slope(self) -> float:
        return float(self._products[0, 0])

    def trajectory(self, rate: float, steps: int) -> Trajectory:
        """See `Walk`."""
        return self._walk(rate, steps)[0]

    def state(self, rate: float, steps: int) -> tuple[Tensor, Trajectory]:
        """See `Walk`."""
        trajectory, self._reached = self._walk(rate, steps)
        moved = torch.zeros_like(self.initial)
        for coefficient, descent in zip(self._reached.tolist(), self._descents, strict=True):
            moved.add_(descent, alpha=coefficient)
        return moved, trajectory

    def _walk(self, rate: float, steps: int) -> tuple[Trajectory, Tensor]:
        # Everything here is a vector of coefficients along the points' −∇ℓ: θ_0 − θ, torch's momentum buffer
        # (`velocity`), and the interpolated −∇ℓ where a step begins (`descent`).
        coefficients = torch.zeros(len(self._descents), dtype=torch.float64)
        velocity = torch.zeros_like(coefficients)
        end, inside = self.points[-1].distance, self.log_odds()
        distances, rises = [0.0], [0.0]
        offsets, odds = [self._offset(coefficients)], [self.points[0].log_odds]
        descent = torch.tensor(self.weights(0.0), dtype=torch.float64)
        for factor in self.factors[:steps]:
            # 1. SGD's step on ∇L = −(1 − p_t) ∇ℓ. p_t follows from ℓ: as measured up to the last point, then as walked.
            left = remainder(inside(distances[-1]) if distances[-1] <= end else odds[-1])
            velocity = self.optimizer.momentum * velocity + left * descent
            step = rate * factor * velocity
            coefficients = coefficients + step
            distances.append(float(coefficients.sum()))
            # 2. The rise of ℓ, ⟨−∇ℓ, step⟩, by the trapezoidal rule; and ℓ, anchored at the measured points.
            next_descent = torch.tensor(self.weights(distances[-1]), dtype=torch.float64)
            rises.append(rises[-1] + float((descent + next_descent) / 2 @ self._products @ step))
            offsets.append(self._offset(coefficients))
            odds = self.anchored(distances, rises, offsets)
            descent = next_descent
        return Trajectory(self.efforts[: len(distances)], tuple(distances), tuple(odds)), coefficients

    def _offset(self, coefficients: Tensor) -> float:
        """⟨−∇ℓ at the last point, (θ_0 − θ) − (θ_0 − θ of that point)⟩."""
        return float(self._products[-1] @ (coefficients - self._last_coefficients))
