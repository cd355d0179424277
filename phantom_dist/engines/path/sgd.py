"""SGD with or without momentum: θ_0 − θ stays a combination of the points' −∇ℓ, so a walk updates coefficients only.

With weight decay λ torch adds λ θ to the gradient, so it is a combination of these and of θ_0. (Where norms and biases
don't decay, the decay of what has been moved is taken over all parameters: it is of second order.)
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from phantom_dist.engines.path.walk import Trajectory, Walk


@final
class SgdWalk(Walk):
    """See `walk.Walk`. Steps cost next to nothing: they use the points' gradients' inner products, computed once."""

    solves = 3
    needs_products = True
    _last_coefficients: Tensor

    def distance_per_rate(self) -> float:
        """See `Walk`; a step at the rate η advances x by η (1 − p_t), for ∇L = −(1 − p_t) ∇ℓ; less if it is clipped."""
        return self.first_scale

    def _point_added(self, moved: Tensor | None) -> None:
        if len(self._descents) == 1:
            self._last_coefficients = torch.zeros(2, dtype=torch.float64)
        else:  # the walk reached this point before its gradient was known, so its coefficient is 0
            *before, decayed = self._reached.split([1] * len(self._reached))
            self._last_coefficients = torch.cat([*before, torch.zeros(1, dtype=torch.float64), decayed])
        self._forms = torch.cat(
            [self._products, self._pulls[:, None]], dim=1
        )  # (n, n + 1): with −∇ℓ_i, and with θ_0

    def _first_slope(self) -> float:
        return float(self._products[0, 0] + self.optimizer.weight_decay * self._pulls[0] / self.first_scale)

    def trajectory(self, rate: float, steps: int) -> Trajectory:
        """See `Walk`."""
        return self._walk(rate, steps)[0]

    def state(self, rate: float, steps: int) -> tuple[Tensor, Trajectory]:
        """See `Walk`."""
        trajectory, self._reached = self._walk(rate, steps)
        moved = torch.zeros_like(self.initial)
        *coefficients, decayed = self._reached.tolist()
        for coefficient, descent in zip(coefficients, self._descents, strict=True):
            moved.add_(descent, alpha=coefficient)
        if decayed:
            moved.add_(self.decaying, alpha=decayed)
        return moved, trajectory

    def _walk(self, rate: float, steps: int) -> tuple[Trajectory, Tensor]:
        # Everything here is a vector of coefficients along the points' −∇ℓ and, last, θ_0: θ_0 − θ, torch's momentum
        # buffer (`velocity`), and the interpolated −∇ℓ where a step begins (`descent`).
        coefficients = torch.zeros(len(self._descents) + 1, dtype=torch.float64)
        untouched = torch.zeros_like(coefficients)
        untouched[-1] = 1.0
        velocity = torch.zeros_like(coefficients)
        end, inside = self.points[-1].distance, self.log_odds()
        distances, rises = [0.0], [0.0]
        offsets, odds = [self._offset(coefficients)], [self.points[0].log_odds]
        weights = self.weights(0.0)
        for factor in self.factors[:steps]:
            # 1. SGD's step on ∇L = −(1 − p_t) ∇ℓ. p_t follows from ℓ: as measured up to the last point, then as walked.
            scale = self.scale(inside(distances[-1]) if distances[-1] <= end else odds[-1], weights)
            descent = torch.tensor([*weights, 0.0], dtype=torch.float64)
            decay = self.optimizer.weight_decay * (untouched - coefficients)
            velocity = self.optimizer.momentum * velocity + scale * descent + decay
            step = rate * factor * velocity
            coefficients = coefficients + step
            distances.append(float(coefficients[:-1].sum()))
            # 2. The rise of ℓ, ⟨−∇ℓ, step⟩, by the trapezoidal rule; and ℓ, anchored at the measured points.
            next_weights = self.weights(distances[-1])
            mean = (descent[:-1] + torch.tensor(next_weights, dtype=torch.float64)) / 2
            rises.append(rises[-1] + float(mean @ self._forms @ step))
            offsets.append(self._offset(coefficients))
            odds = self.anchored(distances, rises, offsets)
            weights = next_weights
        return Trajectory(self.efforts[: len(distances)], tuple(distances), tuple(odds)), coefficients

    def _offset(self, coefficients: Tensor) -> float:
        """⟨−∇ℓ at the last point, (θ_0 − θ) − (θ_0 − θ of that point)⟩."""
        return float(self._forms[-1] @ (coefficients - self._last_coefficients))
