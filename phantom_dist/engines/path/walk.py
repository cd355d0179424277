"""What every walk knows: the points that were measured, how far each lies, and the target's log-odds along the way.

Let ℓ = ln p_t / (1 − p_t) be the target's log-odds. The gradient of the cross-entropy is ∇L = −(1 − p_t) ∇ℓ exactly.
Along a path of training the factor 1 − p_t falls quickly once the target takes over, while ∇ℓ turns slowly: so ∇ℓ is
what is interpolated between the points, by the polynomial through all of them, and the factor follows from ℓ itself.
This is our reconstruction, not the paper's.

A point's place is the way x to it. For SGD x is the sum of the coefficients of −∇ℓ in θ_0 − θ (so equal steps in x
are equal steps in parameters, whatever p_t does); for AdamW, whose steps don't depend on the gradient's size, it is
the sum of the rates.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from phantom_dist.core.trial import Problem
from phantom_dist.engines.coordinates import Coordinates
from phantom_dist.engines.path.interpolation import Function, derivative, lagrange_weights, through


@dataclass(frozen=True, slots=True)
class PathPoint:
    """A measured point: the way x to it, ℓ and the gap g there (logits)."""

    way: float
    log_odds: float
    gap: float


@dataclass(frozen=True, slots=True)
class Course:
    """A walk at one learning rate: after each stride the effective steps taken, the way, and ℓ."""

    effort: tuple[float, ...]
    way: tuple[float, ...]
    log_odds: tuple[float, ...]

    @property
    def final_slope(self) -> float:
        """dℓ / d ln e at the end, e the effective steps; so it is dℓ / d ln η where ℓ depends on η e alone."""
        rise = self.log_odds[-1] - self.log_odds[-2]
        return rise / (self.effort[-1] - self.effort[-2]) * self.effort[-1]

    def share_to(self, log_odds: float) -> float:
        """At which share of the effort ℓ first reaches a value; beyond the end, continued with the last slope."""
        whole = self.effort[-1]
        for place in range(1, len(self.effort)):
            if self.log_odds[place] >= log_odds:
                start, end = self.effort[place - 1], self.effort[place]
                before, after = self.log_odds[place - 1], self.log_odds[place]
                return (start + (end - start) * max(0.0, log_odds - before) / (after - before or 1.0)) / whole
        if self.final_slope <= 0:
            return math.inf
        return 1 + (log_odds - self.log_odds[-1]) / self.final_slope


class Walk(ABC):
    """The walk of one optimizer. Abstract; `sgd` and `adam` are final, `probe.WALKS` has them by optimizer.

    `initial` (N,): θ_0, in the `Coordinates` of all vectors here. `slope_0`: dℓ/dx at the start, once a point is there;
    `gap_slope_0`: dg/dℓ there, set by whoever knows κ.
    `efforts`: effective steps (`kernel_rate.effective_steps`) after 0, 1, …, T steps.
    `solves`: how often a rate is worth solving for between two points.
    `long_shares`: after which shares of the effective steps a long full training is measured.
    """

    solves: ClassVar[int]
    long_shares: ClassVar[tuple[float, ...]]

    @classmethod
    @abstractmethod
    def around(cls, problem: Problem, coordinates: Coordinates) -> Self:
        """The walk of a problem in a model's surroundings."""

    @staticmethod
    @abstractmethod
    def bytes_moved(steps: int) -> float:
        """Bytes that all walks of a probe move for each entry of a vector, for plans (measured on SmolLM2-135M)."""

    @abstractmethod
    def way_per_rate(self) -> float:
        """dx / d(sum of the rates) at the start, once a point is there: κ is the gap's rate per unit of that sum."""

    def __init__(self, problem: Problem, initial: Tensor) -> None:
        self.optimizer = problem.optimizer
        self.factors = problem.schedule.factors(problem.steps)
        built_up = itertools.accumulate(
            [1.0] * problem.steps, lambda b, one: self.optimizer.momentum * b + one
        )
        steps = (factor * b for factor, b in zip(self.factors, built_up, strict=True))
        self.efforts = (0.0, *itertools.accumulate(steps))
        self.initial = initial
        self.points: list[PathPoint] = []
        self.slope_0 = 0.0
        self.gap_slope_0 = 1.0
        self._descents: list[Tensor] = []  # −∇ℓ at each point
        self._last = torch.zeros_like(initial)  # θ_0 − θ at the last point

    def step_at(self, share: float) -> int:
        """The step, at least 1, after which the share of the whole effort is nearest to this one."""
        distance = [abs(effort / self.efforts[-1] - share) for effort in self.efforts[1:]]
        return 1 + distance.index(min(distance))

    def add(self, point: PathPoint, descent: Tensor, moved: Tensor) -> None:
        """A point was measured: −∇ℓ there (N,), and θ_0 − θ of its place, as `state` gave it."""
        self.points.append(point)
        self._descents.append(descent)
        self._last = moved
        self._added()
        if len(self.points) == 1:
            self.slope_0 = self._first_slope()

    @abstractmethod
    def _added(self) -> None:
        """Take note of the newest point."""

    @abstractmethod
    def _first_slope(self) -> float:
        """dℓ/dx at the start."""

    @abstractmethod
    def course(self, rate: float, steps: int) -> Course:
        """Walk so many steps at a learning rate."""

    @abstractmethod
    def state(self, rate: float, steps: int) -> tuple[Tensor, Course]:
        """θ_0 − θ (N,) after so many steps at a learning rate, and the course to there."""

    def weights(self, way: float) -> list[float]:
        """Of each point's ∇ℓ in the interpolated one."""
        return lagrange_weights([point.way for point in self.points], way)

    def log_odds(self) -> Function:
        """ℓ as far as points were measured; beyond, continued with the last slope."""
        ways = [point.way for point in self.points]
        inside = through(ways, [point.log_odds for point in self.points], self.slope_0)
        end, value = ways[-1], self.points[-1].log_odds
        slope = derivative(inside, end, end) if end > 0 else self.slope_0
        return lambda way: inside(way) if way <= end else value + slope * (way - end)

    def gap_of_log_odds(self) -> Function:
        """g as a function of ℓ: through all points, with the slope that κ gives at the start."""
        return through([p.log_odds for p in self.points], [p.gap for p in self.points], self.gap_slope_0)

    def anchored(
        self, ways: Sequence[float], rises: Sequence[float], offsets: Sequence[float]
    ) -> list[float]:
        """ℓ along a course: through the points as measured; beyond the last one, what ∇ℓ says from there.

        Args:
            ways: x after each stride.
            rises: ∫ ⟨∇ℓ, dθ⟩ up to there.
            offsets: ⟨∇ℓ at the last point, θ − its place⟩. The last point was measured where an earlier, coarser walk
                had come to; this walk passes beside it.
        """
        end, inside = self.points[-1].way, self.log_odds()
        later = next((i for i, way in enumerate(ways) if way > end), None)
        if later is None:
            return [inside(way) for way in ways]
        share = (end - ways[later - 1]) / (ways[later] - ways[later - 1])
        rise = rises[later - 1] + share * (rises[later] - rises[later - 1])
        offset = offsets[later - 1] + share * (offsets[later] - offsets[later - 1])
        anchor = self.points[-1].log_odds + offset - rise
        return [inside(way) if way <= end else anchor + rise for way, rise in zip(ways, rises, strict=True)]


def remainder(log_odds: float) -> float:
    """1 − p_t."""
    return 1 / (1 + math.exp(min(50.0, max(-50.0, log_odds))))
