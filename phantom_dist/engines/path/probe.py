"""The critical learning rate from a few gradients: measure, walk on, measure where the walk has come to, close in.

1. First order gives a first rate (under LoRA with the growth of κ, see `first_rate`).
2. For each of two to four shares of the steps (`shares`): walk there, measure g, ℓ and ∇ℓ, and solve anew: the walk
   gives ℓ along the way, the points give g as a function of ℓ, and so the rate at which g = 0 after T steps.
3. Walk all T steps at that rate, look at the gap there (one forward pass), and correct the rate by Newton's step.
4. Where that step is cut (`PathProbe.MOST`), the path didn't close: the end of the walk becomes one more point, and 3
   is done again from there, at most `PathProbe.MORE` times.

No number is fitted but the four of `first_rate`, which only place the points. Our reconstruction, not the paper's.
"""

from __future__ import annotations

import dataclasses
import math
from typing import assert_never

import torch
from torch import Tensor

from phantom_dist.core.errors import InputError
from phantom_dist.core.probe_result import Measured, PathProbe, ProbeResult
from phantom_dist.core.trial import Optimizer, Problem
from phantom_dist.engines.memory import out_of_memory_named
from phantom_dist.engines.objective import loss_of
from phantom_dist.engines.path.adam import AdamWalk
from phantom_dist.engines.path.interpolation import first_rise
from phantom_dist.engines.path.sgd import SgdWalk
from phantom_dist.engines.path.walk import PathPoint, Walk, remainder
from phantom_dist.engines.probe import ProbeRefused, StartingPoint, started
from phantom_dist.instruments.kernel_rate import effective_steps
from phantom_dist.models import LoadedModel

LARGEST_CHANGE = 1.3
"""Of the rate from one point to the next, while the crossing lies beyond the points: a polynomial says little of there.
Once a point has g > 0 the crossing lies between points, and the rate may fall further than that."""

LARGEST_FALL = 3.0

GAP_SLOPES = (0.5, 2.0)
"""Range of dg/dℓ that is believed; it is 1 where the competitor keeps its share of what the target leaves."""

LONG = 32
"""Beyond so many steps more points are measured."""

FORWARD, BACKWARD = 1 / 3, 2 / 3
"""Cost of a pass in trial-steps, by operations: a backward pass makes two products where a forward pass makes one. In
the dual form there is one product in either, and one forward pass more: it costs less than is counted."""


WALKS: dict[str, type[Walk]] = {"sgd": SgdWalk, "adamw": AdamWalk}
"""The walk of each optimizer whose path can be probed, by its name. Under another one searches start at first order."""


def can_be_walked(optimizer: Optimizer) -> bool:
    """Whether the path of a training under an optimizer can be probed; else no law predicts its critical rate."""
    return optimizer.name in WALKS


def unwalked(name: str) -> str:
    """What to tell who wants the path of a training that can't be walked."""
    return (
        f"optimizer {name}: it can be trained, but its path can't be probed, so no law predicts its critical rate; "
        f"a search finds it. Predictions are for {', '.join(WALKS)}."
    )


def walked_bytes(problem: Problem) -> float:
    """Predicted bytes that the walks of a path probe move for each parameter of the model, but in the dual form."""
    # LoRA's vectors are short beside the model.
    return 0.0 if problem.method == "lora" else WALKS[problem.optimizer.name].bytes_moved(problem.steps)


def shares(problem: Problem) -> tuple[float, ...]:
    """After which shares of the effective steps T a gradient is measured.

    LoRA's first one is early: only there is the second factor's gradient seen, which is 0 at the start. The last one
    of long trainings lies at or near the end, where AdamW's path bends most.
    """
    if problem.method == "lora":
        return (0.2, 0.65) if problem.steps <= LONG else (0.1, 0.35, 0.65, 0.9)
    if problem.steps <= LONG:
        return (0.4, 0.8)
    return WALKS[problem.optimizer.name].long_shares


def first_rate(measured: Measured, adapters_rms: float | None) -> float:
    """The rate that the first walk takes.

    SGD: first order, Π = 1. AdamW: a little less, more so with T. LoRA under AdamW: B grows with the way x and lets A
    grow, whose share of the gap goes with x²: g = g_0 + κ x (1 + α x / rms(A)), with α = 4.3 (T / 8)^0.37.
    The constants are read off the zoo and rounded: they place the points, and the answer hardly depends on them.
    """
    problem = measured.problem
    steps = effective_steps(problem.steps, problem.schedule, problem.optimizer)
    way = abs(measured.gap_0) / measured.kappa
    match problem.optimizer.name:
        case "sgd":
            pass
        case "adamw" if adapters_rms is None:
            way *= 0.98 * (problem.steps / 8) ** -0.04
        case "adamw":
            growth = 4.3 * (problem.steps / 8) ** 0.37 * way / adapters_rms
            way *= (math.sqrt(1 + 4 * growth) - 1) / (2 * growth)
        case _:
            assert_never(problem.optimizer.name)
    return way / steps


def probe_path(loaded: LoadedModel, problem: Problem) -> ProbeResult:
    """Measure κ, what it rests on and the path, and leave the model as it was.

    It costs 4 trial-steps; beyond T = 32 5 under SGD and 6 under AdamW; and 4/3 more for each further point that a path
    takes to close. There is no path where κ ≤ 0 (the first steps widen the gap).

    Raises:
        InputError: an optimizer whose path can't be walked, or a LoRA target that this model doesn't have.
        OutOfMemory: the gradients of all points (N numbers each) don't fit.
        ArithmeticError: the model gives a number that is not finite on the way.
    """
    if not can_be_walked(problem.optimizer):
        raise InputError(unwalked(problem.optimizer.name))
    try:
        with out_of_memory_named(), started(loaded, problem, keep_gradient=True) as start:
            measured = start.measured
            if measured.kappa <= 0:
                return measured
            return dataclasses.replace(measured, path=_Probe(start).run())
    except ProbeRefused as refused:
        return refused.result


class _Probe:
    def __init__(self, start: StartingPoint) -> None:
        measured = start.measured
        assert start.gradient is not None
        self._measured, self._problem, self._tokens = measured, measured.problem, measured.tokens
        self._model = start.coordinates
        self._walk = WALKS[self._problem.optimizer.name].around(self._problem, self._model)
        self._cost = FORWARD + 2 * BACKWARD  # of the start, which κ needs as well
        point = self._point(start.logits, 0.0)
        self._add(point, start.gradient, torch.zeros_like(self._walk.initial))
        self._walk.gap_slope_0 = measured.kappa / self._walk.way_per_rate() / self._walk.slope_0

    def run(self) -> PathProbe:
        problem, walk = self._problem, self._walk
        rate = first_rate(self._measured, self._adapters_rms())
        rates = [rate]
        measured: set[tuple[int, float]] = set()
        for number, share in enumerate(shares(problem)):
            place = walk.step_at(share), rate
            if (
                place not in measured
            ):  # T = 1 and 2 have fewer steps than shares, and a point twice says nothing more
                moved, course = walk.state(rate, place[0])
                self._measure(moved, course.way[-1])
                measured.add(place)
            # LoRA's first point was reached without its second factor moving: what it says of ℓ is too little.
            if number > 0 or problem.method == "full":
                rate = self._solve(rate)
            rates.append(rate)
        moved, end, corrected = self._corrected(rate)
        for _ in range(PathProbe.MORE):
            if not PathProbe.is_cut(rate, corrected):
                break
            self._measure(moved, end.way)
            # The gap at the end says on which side the crossing lies; the path solved anew may only go further.
            further = max if corrected > rate else min
            rate = further(corrected, self._solve(rate))
            rates.append(rate)
            moved, end, corrected = self._corrected(rate)
        return PathProbe(
            learning_rates=(*rates, corrected),
            log_odds_0=walk.points[0].log_odds,
            gap_end=end.gap,
            trial_steps=self._cost,
        )

    def _corrected(self, rate: float) -> tuple[Tensor, PathPoint, float]:
        """Walk all steps at a rate: θ_0 − θ at the end, what a look says there, and the rate that it corrects to."""
        moved, course = self._walk.state(rate, self._problem.steps)
        with torch.no_grad():
            end = self._point(self._forward(moved), course.way[-1])
        return moved, end, rate * math.exp(self._newton(end, course.final_slope))

    def _solve(self, rate: float) -> float:
        """The rate at which the walk, as far as it is known, ends at g = 0."""
        walk, points = self._walk, self._walk.points
        gap = walk.gap_of_log_odds()
        highest = max(points, key=lambda p: p.log_odds)
        between = max(p.gap for p in points) > 0
        if between:
            odds = first_rise(gap, min(p.log_odds for p in points), highest.log_odds)
        else:
            reach = max(0.5, 3 * abs(highest.gap) / max(0.2, abs(walk.gap_slope_0)))
            odds = first_rise(gap, highest.log_odds, highest.log_odds + reach)
        if odds is None:
            before, last = points[-2], points[-1]
            rise = last.log_odds - before.log_odds
            slope = max(0.2, (last.gap - before.gap) / rise) if rise else 1.0
            odds = last.log_odds - last.gap / slope
        low, high = rate / (LARGEST_FALL if between else LARGEST_CHANGE), rate * LARGEST_CHANGE
        for _ in range(walk.solves):
            share = walk.course(rate, self._problem.steps).share_to(odds)
            new = min(high, max(low, rate * share))
            if abs(math.log(new / rate)) < 1e-3:
                return new
            rate = new
        return rate

    def _newton(self, end: PathPoint, slope: float) -> float:
        """Δ ln rate, from the gap at the end of a walk and dℓ/d ln rate there; the largest where that says nothing."""
        last, (low, high) = self._walk.points[-1], GAP_SLOPES
        if slope <= 0:  # extrapolated, ∇ℓ has turned; the whole way's mean slope is measured
            slope = end.log_odds - self._walk.points[0].log_odds
        if slope <= 0:
            return math.copysign(PathProbe.MOST, -end.gap)
        rise = end.log_odds - last.log_odds
        # Too close to each other, two points say nothing of a slope.
        per_odds = min(high, max(low, (end.gap - last.gap) / rise)) if abs(rise) > 0.05 else 1.0
        return min(PathProbe.MOST, max(-PathProbe.MOST, -end.gap / (per_odds * slope)))

    def _measure(self, moved: Tensor, way: float) -> None:
        """Measure a point: one forward and one backward pass."""
        logits_V = self._forward(moved)
        gradient = self._model.gradient(loss_of(logits_V, self._tokens))
        self._cost += BACKWARD
        self._add(self._point(logits_V.detach(), way), gradient, moved)

    def _add(self, point: PathPoint, gradient: Tensor, moved: Tensor) -> None:
        self._walk.add(point, gradient.div_(remainder(point.log_odds)), moved)

    def _forward(self, moved: Tensor) -> Tensor:
        """The logits (V,) at θ_0 − moved."""
        self._cost += FORWARD
        return self._model.logits(moved)

    def _point(self, logits_V: Tensor, way: float) -> PathPoint:
        exact = logits_V.double()
        target = float(exact[self._tokens.target])
        gap = target - float(exact[self._tokens.competitor])
        exact[self._tokens.target] = -math.inf
        odds = target - float(torch.logsumexp(exact, 0))
        if not (math.isfinite(gap) and math.isfinite(odds)):
            raise ArithmeticError(f"the path of {self._problem.model!r} leaves the finite numbers")
        return PathPoint(way, odds, gap)

    def _adapters_rms(self) -> float | None:
        """Root mean square of LoRA's first factors as drawn; None under full fine-tuning."""
        if self._problem.method == "full":
            return None
        initial = self._walk.initial
        # The second factors are 0, so what is not 0 belongs to the first ones.
        return float(torch.linalg.vector_norm(initial)) / math.sqrt(int(torch.count_nonzero(initial)))
