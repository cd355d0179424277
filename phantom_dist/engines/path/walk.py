"""The base class of walks: the measured points, the distance to each, and the target's log-odds along the path.

Let ℓ = ln p_t / (1 − p_t) be the target's log-odds. The gradient of the cross-entropy is ∇L = −(1 − p_t) ∇ℓ exactly.
Along a training the factor 1 − p_t falls quickly once the target takes over, while ∇ℓ turns slowly. So a walk
interpolates ∇ℓ between the points, by the polynomial through all of them, and computes the factor from ℓ itself.
This is our reconstruction, not the paper's.

The abscissa is the distance x from θ_0 along the path. For SGD x is the sum of the coefficients of −∇ℓ in θ_0 − θ, so
equal steps in x are equal steps in parameters whatever p_t is. AdamW's steps don't depend on the gradient's size: for
it x is the sum of the learning rates.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from phantom_dist.core.trial import Problem
from phantom_dist.engines.coordinates import Coordinates
from phantom_dist.engines.optimizers import clip_scale
from phantom_dist.engines.path.interpolation import Function, derivative, lagrange_weights, through
from phantom_dist.instruments.kernel_rate import inner_product

Inner = Callable[[Tensor, Tensor], float]
"""⟨a, b⟩ of two vectors, in the walk's coordinates."""


@dataclass(frozen=True, slots=True)
class PathPoint:
    """A measured point: the distance x along the path, ℓ and the gap g there (logits)."""

    distance: float
    log_odds: float
    gap: float


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A walk at one learning rate: effective steps taken, distance x, and ℓ, at the start and after each stride."""

    efforts: tuple[float, ...]
    distances: tuple[float, ...]
    log_odds: tuple[float, ...]

    @property
    def final_slope(self) -> float:
        """dℓ / d ln e at the end, e the effective steps; so it is dℓ / d ln η where ℓ depends on η e alone."""
        rise = self.log_odds[-1] - self.log_odds[-2]
        return rise / (self.efforts[-1] - self.efforts[-2]) * self.efforts[-1]

    def share_to(self, log_odds: float) -> float:
        """The share of the effective steps at which ℓ first reaches a value; extrapolated linearly beyond the end."""
        whole = self.efforts[-1]
        for place in range(1, len(self.efforts)):
            if self.log_odds[place] >= log_odds:
                start, end = self.efforts[place - 1], self.efforts[place]
                before, after = self.log_odds[place - 1], self.log_odds[place]
                return (start + (end - start) * max(0.0, log_odds - before) / (after - before or 1.0)) / whole
        if self.final_slope <= 0:
            return math.inf
        return 1 + (log_odds - self.log_odds[-1]) / self.final_slope


class Walk(ABC):
    """The walk of one optimizer. Abstract; `sgd` and `adam` are final, `probe.WALKS` has them by optimizer.

    `initial`, `decaying` (N,): θ_0, and θ_0 where weight decay applies; in the `Coordinates` of all vectors here.
    `slope_0`: dℓ/dx at the start, known once the first point is added.
    `gap_slope_0`: dg/dℓ at the start, which the path probe sets from κ.
    `efforts`: effective steps (`effective_steps`) after 0, 1, …, T steps.
    `solves`: iterations when solving for a rate between two points.
    `needs_products`: whether the inner products of the points' gradients are needed without clipping, too.
    """

    solves: ClassVar[int]
    needs_products: ClassVar[bool] = False

    @classmethod
    def around(cls, problem: Problem, coordinates: Coordinates) -> Self:
        """The walk of a problem in these coordinates."""
        return cls(
            problem,
            coordinates.origin,
            decaying=coordinates.decaying,
            inner=coordinates.inner,
            new_vector=coordinates.new_vector,
        )

    @staticmethod
    def first_distance(first_order: float, steps: int, adapters_rms: float | None) -> float:
        """Learning rate times effective steps of the first walk.

        Args:
            first_order: |g_0| / κ, where Π = 1: the answer, unless the optimizer's walk has a better one.
            steps: T.
            adapters_rms: root mean square of LoRA's first factors A; None for full fine-tuning.
        """
        return first_order

    @abstractmethod
    def distance_per_rate(self) -> float:
        """dx / d(sum of the learning rates) at the start, once a point is there; κ is per unit of that sum."""

    def __init__(
        self,
        problem: Problem,
        initial: Tensor,
        *,
        decaying: Tensor | None = None,
        inner: Inner = inner_product,
        new_vector: Callable[[], Tensor] | None = None,
    ) -> None:
        self.optimizer, self._clipping, self._inner = problem.optimizer, problem.gradient_clipping, inner
        self._products = torch.zeros(0, 0, dtype=torch.float64)  # ⟨∇ℓ_i, ∇ℓ_j⟩ where something needs them
        self._pulls = torch.zeros(0, dtype=torch.float64)  # ⟨−∇ℓ_i, decaying⟩ under weight decay
        self.factors = problem.schedule.factors(problem.steps)
        built_up = itertools.accumulate(
            [1.0] * problem.steps, lambda b, one: self.optimizer.momentum * b + one
        )
        steps = (factor * b for factor, b in zip(self.factors, built_up, strict=True))
        self.efforts = (0.0, *itertools.accumulate(steps))
        self.initial = initial
        self.decaying = initial if decaying is None else decaying
        self.points: list[PathPoint] = []
        self.slope_0 = 0.0
        self.gap_slope_0 = 1.0
        self._descents: list[Tensor] = []  # −∇ℓ at each point
        self._new = new_vector
        self._prepare()

    def _prepare(self) -> None:  # noqa: B027
        """Set up what one optimizer's walk keeps beside this."""

    def step_at(self, share: float) -> int:
        """The step, of those that move the weights, after which the share of the effective steps is nearest to this."""
        moved = [step for step, effort in enumerate(self.efforts) if effort > 0]
        return min(moved, key=lambda step: abs(self.efforts[step] / self.efforts[-1] - share))

    def add(self, point: PathPoint, descent: Tensor, moved: Tensor | None = None) -> None:
        """Add a measured point: −∇ℓ there (N,), and its θ_0 − θ (N,) as `state` returned it; None at the start."""
        self.points.append(point)
        self._descents.append(descent)
        if self.needs_products or self._clipping is not None:
            last = [self._inner(other, descent) for other in self._descents]
            products = torch.zeros(len(last), len(last), dtype=torch.float64)
            products[:-1, :-1] = self._products
            products[-1] = products[:, -1] = torch.tensor(last, dtype=torch.float64)
            self._products = products
        pull = self._inner(descent, self.decaying) if self.optimizer.weight_decay else 0.0
        self._pulls = torch.cat([self._pulls, self._pulls.new_tensor([pull])])
        self._point_added(moved)
        if len(self.points) == 1:
            self.slope_0 = self._first_slope()

    @abstractmethod
    def _point_added(self, moved: Tensor | None) -> None:
        """Update the optimizer's own data after the newest point was added; `moved`: as for `add`."""

    @abstractmethod
    def _first_slope(self) -> float:
        """dℓ/dx at the start."""

    @abstractmethod
    def trajectory(self, rate: float, steps: int) -> Trajectory:
        """Walk this many steps at a learning rate."""

    @abstractmethod
    def state(self, rate: float, steps: int) -> tuple[Tensor, Trajectory]:
        """θ_0 − θ (N,) after this many steps at a learning rate, valid until the next call, and the trajectory."""

    def weights(self, distance: float) -> list[float]:
        """The weight of each point's ∇ℓ in the interpolated ∇ℓ at a distance."""
        return lagrange_weights([point.distance for point in self.points], distance)

    def scale(self, log_odds: float, weights: Sequence[float]) -> float:
        """What the interpolated −∇ℓ is multiplied by where the optimizer gets it: 1 − p_t, less where it is clipped."""
        left = remainder(log_odds)
        if self._clipping is None:
            return left
        w = torch.tensor(weights, dtype=torch.float64)
        return left * clip_scale(left * math.sqrt(max(0.0, float(w @ self._products @ w))), self._clipping)

    @property
    def first_scale(self) -> float:
        """`scale` at the start."""
        return self.scale(self.points[0].log_odds, self.weights(0.0))

    def log_odds(self) -> Function:
        """ℓ(x): through the measured points; extrapolated linearly beyond the last one."""
        distances = [point.distance for point in self.points]
        inside = through(distances, [point.log_odds for point in self.points], self.slope_0)
        end, value = distances[-1], self.points[-1].log_odds
        slope = derivative(inside, end, end) if end > 0 else self.slope_0
        return lambda x: inside(x) if x <= end else value + slope * (x - end)

    def gap_of_log_odds(self) -> Function:
        """g as a function of ℓ: through all points, with the slope that κ gives at the start."""
        return through([p.log_odds for p in self.points], [p.gap for p in self.points], self.gap_slope_0)

    def anchored(
        self, distances: Sequence[float], rises: Sequence[float], offsets: Sequence[float]
    ) -> list[float]:
        """ℓ along a trajectory: up to the last point through the measured ones, beyond it by integrating ∇ℓ.

        Args:
            distances: x after each stride.
            rises: ∫ ⟨∇ℓ, dθ⟩ up to there.
            offsets: ⟨∇ℓ at the last point, θ − θ of that point⟩. The last point is where an earlier, coarser walk
                ended; this walk passes beside it.
        """
        end, inside = self.points[-1].distance, self.log_odds()
        later = next((i for i, x in enumerate(distances) if x > end), None)
        if later is None:
            return [inside(x) for x in distances]
        # Rise and offset where this walk passes the last point, linear within the stride; ℓ there is the measured
        # value plus the offset, and grows with the integral from there on.
        share = (end - distances[later - 1]) / (distances[later] - distances[later - 1])
        rise = rises[later - 1] + share * (rises[later] - rises[later - 1])
        offset = offsets[later - 1] + share * (offsets[later] - offsets[later - 1])
        anchor = self.points[-1].log_odds + offset - rise
        return [inside(x) if x <= end else anchor + rise for x, rise in zip(distances, rises, strict=True)]


def remainder(log_odds: float) -> float:
    """1 − p_t."""
    return 1 / (1 + math.exp(min(50.0, max(-50.0, log_odds))))
