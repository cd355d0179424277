"""The critical learning rate from a few gradients: measure, walk on, measure there, correct.

1. First order gives a first rate (under LoRA with the growth of κ, see `AdamWalk.first_distance`).
2. For each of two to four shares of the steps (`shares`): walk there, measure g, ℓ and ∇ℓ, and solve for the rate
   again: the walk gives ℓ along the path, the points give g as a function of ℓ, and the two together the rate at which
   g = 0 after T steps.
3. Walk all T steps at that rate, measure the gap there (one forward pass), and correct the rate by a Newton step.
4. Where that step is cut (`PathProbe.MOST`), the end of the walk becomes one more point, and step 3 is repeated from
   there, at most `PathProbe.MORE` times.
5. A path that still didn't close (`PathProbe.why_open`) is walked anew from the rate that it arrived at, at most
   `PathProbe.RESTARTS` times: its points lay where the training doesn't go.

The only fitted numbers are the four of `AdamWalk.first_distance`, which only place the points. This is our
reconstruction, not the paper's.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from phantom_dist.core.errors import InputError
from phantom_dist.core.probe_result import Measured, PathProbe, ProbeResult
from phantom_dist.core.problem_columns import training_class
from phantom_dist.core.trial import Problem
from phantom_dist.engines.memory import out_of_memory_named
from phantom_dist.engines.objective import gap_of, loss_of
from phantom_dist.engines.path.adam import AdamWalk
from phantom_dist.engines.path.cost import can_be_walked, shares, unwalked
from phantom_dist.engines.path.interpolation import first_rise
from phantom_dist.engines.path.sgd import SgdWalk
from phantom_dist.engines.path.walk import PathPoint, Walk, remainder
from phantom_dist.engines.probe import ProbeRefused, StartingPoint, starting_point
from phantom_dist.instruments.effective_steps import effective_steps
from phantom_dist.instruments.kernel_rate import gradient_norm
from phantom_dist.instruments.word_prompts import log_odds, read_word
from phantom_dist.models.load import LoadedModel

LARGEST_CHANGE = 1.3
"""Largest factor between the rates of two successive points: until a point has g > 0, the crossing lies beyond the
points, where the polynomial is unreliable."""

LARGEST_FALL = 3.0
"""The same for a lower rate once a point has g > 0, so that the crossing lies between points."""

GAP_SLOPES = (0.5, 2.0)
"""Range that dg/dℓ is clipped to; it is 1 where the competitor keeps its share of 1 − p_t."""

FORWARD, BACKWARD = 1 / 3, 2 / 3
"""Cost of a pass in trial-steps, by operations: a backward pass has two matrix products where a forward pass has one.
The dual form has one in either and one forward pass more: it costs less than counted here."""


WALKS: dict[str, type[Walk]] = {"sgd": SgdWalk, "adamw": AdamWalk}
"""The walk of each optimizer in `cost.WALKED`, by name."""


def first_rate(measured: Measured, adapters_rms: float | None) -> float:
    """The learning rate of the first walk: first order, Π = 1, as the walk's `first_distance` changes it."""
    problem = measured.problem
    steps = effective_steps(problem.steps, problem.schedule, problem.optimizer)
    first_order = abs(measured.gap_0) / measured.kappa
    return WALKS[problem.optimizer.name].first_distance(first_order, problem.steps, adapters_rms) / steps


def root_mean_square(initial: Iterable[Tensor]) -> float:
    """Of LoRA's initial first factors A, from all initial adapters: the second factors B are 0."""
    parts = [part.detach() for part in initial]
    entries = sum(int(torch.count_nonzero(part)) for part in parts)
    return gradient_norm(parts) / math.sqrt(entries)


def probe_path(loaded: LoadedModel, problem: Problem) -> ProbeResult:
    """Measure κ, the quantities it follows from, and the path; restore the model.

    It costs 4 trial-steps; beyond T = 32, 5 under SGD and 6 under AdamW; 4/3 more for each further point that a path
    needs to close; and all that again where it begins anew. There is no path where κ ≤ 0 (the first steps widen the
    gap).

    Raises:
        InputError: a training whose path can't be walked, or a LoRA target that this model doesn't have.
        OutOfMemory: the gradients of all points (N numbers each) don't fit.
        ArithmeticError: the gap or the log-odds become NaN or Inf along the path.
    """
    if not can_be_walked(problem):
        raise InputError(unwalked(problem.optimizer.name))
    class_name = training_class(problem.method, problem.optimizer.name, on_set=False)
    path: PathProbe | None = None
    for _ in range(1 + PathProbe.RESTARTS):
        try:
            with out_of_memory_named(), starting_point(loaded, problem, keep_gradient=True) as start:
                measured = start.measured
                if measured.kappa <= 0:
                    return measured
                path = _Probe(start, path).run()
        except ProbeRefused as refused:
            return refused.result
        left, moved = abs(path.gap_end / measured.gap_0), path.learning_rates[-1] / path.learning_rates[0]
        if (
            PathProbe.why_open(path.learning_rates, left, class_name) is None
            or abs(math.log(moved)) < PathProbe.ANEW
        ):
            break
    return dataclasses.replace(measured, path=path)


def newton_correction(end: PathPoint, points: Sequence[PathPoint], slope: float) -> float:
    """Δ ln rate, from the gap at the end of a walk and dℓ/d ln rate there, at most `PathProbe.MOST`.

    It is the largest, towards g = 0, where no positive slope is known.
    """
    last, (low, high) = points[-1], GAP_SLOPES
    if slope <= 0:  # the extrapolated ∇ℓ has turned; the mean slope of the whole path is measured
        slope = end.log_odds - points[0].log_odds
    if slope <= 0:
        return math.copysign(PathProbe.MOST, -end.gap)
    rise = end.log_odds - last.log_odds
    # Two points that are too close together give no reliable slope.
    per_odds = min(high, max(low, (end.gap - last.gap) / rise)) if abs(rise) > 0.05 else 1.0
    return min(PathProbe.MOST, max(-PathProbe.MOST, -end.gap / (per_odds * slope)))


class _Probe:
    """The path probe of one problem: a walk, the points measured so far, and what they cost (trial-steps).

    `before`: the path that didn't close, from whose last rate this one begins; its cost counts.
    """

    def __init__(self, start: StartingPoint, before: PathProbe | None) -> None:
        measured = start.measured
        assert start.gradient is not None
        self._measured, self._problem, self._tokens = measured, measured.problem, measured.tokens
        self._model = start.coordinates
        self._walk = WALKS[self._problem.optimizer.name].around(self._problem, self._model)
        self._before = before
        self._cost = FORWARD + 2 * BACKWARD  # of the start, which κ needs as well
        self._cost += 0.0 if before is None else before.trial_steps
        point = self._point(start.logits, 0.0)
        self._add(point, start.gradient)
        self._walk.gap_slope_0 = measured.kappa / self._walk.distance_per_rate() / self._walk.slope_0

    def run(self) -> PathProbe:
        problem, walk = self._problem, self._walk
        known = self._before
        rate = first_rate(self._measured, self._adapters_rms()) if known is None else known.learning_rates[-1]
        rates = [rate]
        measured: set[tuple[int, float]] = set()
        for number, share in enumerate(shares(problem)):
            place = walk.step_at(share), rate
            # T = 1 and 2 have fewer steps than shares, and measuring a point twice adds nothing.
            if place not in measured:
                moved, trajectory = walk.state(rate, place[0])
                self._measure(moved, trajectory.distances[-1])
                measured.add(place)
            # LoRA's first walk knew only A's gradient at the start, 0, so A didn't move: the point says too little of ℓ
            # to solve from.
            if number > 0 or problem.method == "full":
                rate = self._solve(rate)
            rates.append(rate)
        moved, end, corrected = self._corrected(rate)
        for _ in range(PathProbe.MORE):
            if not PathProbe.is_cut(rate, corrected):
                break
            self._measure(moved, end.distance)
            # The sign of the gap at the end says on which side the crossing lies; a new solution may only go further
            # that way.
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
        """Walk all steps at a rate: θ_0 − θ at the end, the point measured there, and the corrected rate."""
        moved, trajectory = self._walk.state(rate, self._problem.steps)
        with torch.no_grad():
            end = self._point(self._forward(moved), trajectory.distances[-1])
        return moved, end, rate * math.exp(newton_correction(end, self._walk.points, trajectory.final_slope))

    def _solve(self, rate: float) -> float:
        """The rate at which the walk, given the points so far, ends at g = 0."""
        walk, points = self._walk, self._walk.points
        # 1. ℓ at g = 0: between the points if one has g > 0, else beyond the highest by the polynomial, else by the
        # last two points' slope.
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
        # 2. The rate whose walk reaches that ℓ after T steps. The share of the steps at which ℓ is reached is also
        # the factor of the rate, to first order; repeat for the rest.
        low, high = rate / (LARGEST_FALL if between else LARGEST_CHANGE), rate * LARGEST_CHANGE
        for _ in range(walk.solves):
            share = walk.trajectory(rate, self._problem.steps).share_to(odds)
            new = min(high, max(low, rate * share))
            if abs(math.log(new / rate)) < 1e-3:
                return new
            rate = new
        return rate

    def _measure(self, moved: Tensor, distance: float) -> None:
        """Measure a point and add it to the walk: one forward and one backward pass; nothing where one lies already."""
        if any(math.isclose(point.distance, distance, rel_tol=1e-9) for point in self._walk.points):
            return
        logits_PV = self._forward(moved)
        logits_V, rests_3 = read_word(logits_PV, self._tokens)
        gradient = self._model.gradient(loss_of(logits_V, self._tokens, rests_3))
        self._cost += BACKWARD
        self._add(self._point(logits_PV.detach(), distance), gradient, moved)

    def _add(self, point: PathPoint, gradient: Tensor, moved: Tensor | None = None) -> None:
        # ∇L = −(1 − p_t) ∇ℓ, so this is −∇ℓ.
        self._walk.add(point, gradient.div_(remainder(point.log_odds)), moved)

    def _forward(self, moved: Tensor) -> Tensor:
        """The logits (P, V) at θ_0 − moved."""
        self._cost += FORWARD
        return self._model.logits(moved)

    def _point(self, logits_PV: Tensor, distance: float) -> PathPoint:
        logits_V, rests_3 = read_word(logits_PV.double(), self._tokens)
        gap = float(gap_of(logits_V, self._tokens, rests_3))
        odds = log_odds(logits_V, self._tokens.target, rests_3)
        if not (math.isfinite(gap) and math.isfinite(odds)):
            raise ArithmeticError(
                f"the path of {self._problem.model!r} became NaN or Inf: gap {gap}, log-odds {odds}"
            )
        return PathPoint(distance, odds, gap)

    def _adapters_rms(self) -> float | None:
        """Root mean square of LoRA's initial first factors A; None under full fine-tuning."""
        return None if self._problem.method == "full" else root_mean_square([self._walk.initial])
