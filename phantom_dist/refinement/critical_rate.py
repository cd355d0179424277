"""The critical rates of a run, from the summaries of its probes and trials."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from phantom_dist.core.probe_result import Measured
from phantom_dist.core.problem_columns import ProblemColumns, problem_columns
from phantom_dist.core.summaries import ProbeSummary, TrialSummary
from phantom_dist.refinement.curve import Curve, Point, curve
from phantom_dist.refinement.root_search import NoRoot, bracket, next_step
from phantom_dist.spec import SweepSpec, expand, tolerance_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Crossing:
    """A critical rate: η_c inside the bracket of two trained learning rates; Π_c = η_c T κ / |g_0|, dimensionless."""

    eta_c: float
    bracket: tuple[float, float]
    pi_c: float


@dataclass(frozen=True, kw_only=True, slots=True)
class CriticalRate(ProblemColumns):
    """Whether and where one problem's g_T(η) crosses zero.

    Attributes:
        problem: key of the problem (`Problem.key`).
        crossing: None where there is none; then `reason` gives the code of the reason.
        trials_used: trials trained for it; `trial_steps_used`: their steps, plus those of the probe.
        gap_0: g_0 in logits; `kappa`: its rate in logits per step per unit learning rate. None where the pair was
            refused before they were measured.
        held_out: whether it chose no learning rate, so that its bracket is as wide as others left it.
        near_synonym: whether the pair's overlap reaches the floor; None where that is unknown.
        eta_loss: with a training set, the tried rate with the lowest training loss at its end; None where trainings
            ended early, as their losses can't be compared.
    """

    problem: str
    crossing: Crossing | None
    reason: str | None
    trials_used: int
    trial_steps_used: float
    gap_0: float | None
    kappa: float | None
    held_out: bool = False
    near_synonym: bool | None = None
    eta_loss: float | None = None

    @property
    def eta_c(self) -> float | None:
        """The critical learning rate; None where there is none."""
        return None if self.crossing is None else self.crossing.eta_c

    @property
    def bracket(self) -> tuple[float, float] | None:
        """The two trained learning rates on both sides of η_c."""
        return None if self.crossing is None else self.crossing.bracket

    @property
    def pi_c(self) -> float | None:
        """The dimensionless critical rate."""
        return None if self.crossing is None else self.crossing.pi_c

    def to_json(self) -> dict[str, Any]:
        """The object in `critical_rates` of the JSON of `run` and `status`; a row of the table of the same name."""
        return {"problem": self.problem} | self.problem_columns() | {
            "eta_c": self.eta_c,
            "bracket": None if self.bracket is None else list(self.bracket),
            "trials_used": self.trials_used,
            "trial_steps_used": self.trial_steps_used,
            "gap_0": self.gap_0,
            "kappa": self.kappa,
            "pi_c": self.pi_c,
            "reason": self.reason,
            "held_out": True if self.held_out else None,
            "near_synonym": self.near_synonym,
            "eta_loss": self.eta_loss,
        }  # fmt: skip

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Decode an object from `to_json`."""
        crossing = None
        if value["eta_c"] is not None:
            low, high = value["bracket"]
            crossing = Crossing(eta_c=value["eta_c"], bracket=(low, high), pi_c=value["pi_c"])
        same = ("problem", "reason", "trials_used", "trial_steps_used", "gap_0", "kappa")
        return cls(
            **problem_columns(value),
            **{name: value[name] for name in same},
            held_out=bool(value.get("held_out")),
            near_synonym=value.get("near_synonym"),
            eta_loss=value.get("eta_loss"),
            crossing=crossing,
        )


def points_of(trials: Iterable[TrialSummary]) -> list[Point]:
    """The trained trials of one problem as points of its curve."""
    return [
        Point(
            learning_rate=trial.learning_rate,
            gap=math.nan if trial.gap_final is None else trial.gap_final,
            outcome=trial.outcome,
        )
        for trial in trials
        if trial.outcome.trained and trial.learning_rate is not None
    ]


def by_problem(trials: Iterable[TrialSummary]) -> dict[str, list[TrialSummary]]:
    """The trials grouped by their problem's key, in their order."""
    grouped: dict[str, list[TrialSummary]] = {}
    for trial in trials:
        grouped.setdefault(trial.problem, []).append(trial)
    return grouped


def critical_rates(
    probes: Iterable[ProbeSummary], trials: Iterable[TrialSummary], tolerance: float | None
) -> list[CriticalRate]:
    """One record per probed problem, in listing order.

    Args:
        probes: of one run.
        trials: of the same run.
        tolerance: of the search; None for a sweep over given learning rates, where a bracket may have any width.
    """
    trials_of = by_problem(trials)
    rates = [_critical_rate(probe, trials_of.get(probe.problem, []), tolerance) for probe in probes]
    return sorted(rates, key=lambda rate: rate.listing_order)


def critical_rates_of(
    specs: Sequence[SweepSpec], probes: Iterable[ProbeSummary], trials: Sequence[TrialSummary]
) -> list[CriticalRate]:
    """The critical rates of a run with one or more sweeps, each problem with its own sweep's tolerance.

    A problem in several sweeps takes the tolerance of the first that contains it; one in none, that of the first sweep.
    """
    tolerances: dict[str, float | None] = {}
    for spec in specs:
        for problem in expand(spec):
            tolerances.setdefault(problem.key, tolerance_of(spec))
    by_tolerance: dict[float | None, list[ProbeSummary]] = {}
    for probe in probes:
        tolerance = tolerances.get(probe.problem, tolerance_of(specs[0]))
        by_tolerance.setdefault(tolerance, []).append(probe)
    rates = [
        rate for tolerance, some in by_tolerance.items() for rate in critical_rates(some, trials, tolerance)
    ]
    return sorted(rates, key=lambda rate: rate.listing_order)


def _critical_rate(
    probe: ProbeSummary, trials: Sequence[TrialSummary], tolerance: float | None
) -> CriticalRate:
    trained = [trial for trial in trials if trial.outcome.trained]
    # A held-out context chooses no rates, so its bracket is as wide as others leave it.
    crossing, reason = _crossing_or_reason(probe, trials, None if probe.held_out else tolerance)
    return CriticalRate(
        problem=probe.problem,
        **probe.problem_columns(),
        crossing=crossing,
        reason=reason,
        trials_used=len(trained),
        trial_steps_used=sum(trial.steps_taken or 0 for trial in trained) + _probe_steps(probe),
        gap_0=probe.gap_0,
        kappa=probe.kappa,
        held_out=probe.held_out,
        near_synonym=probe.near_synonym,
        eta_loss=_eta_loss(trained),
    )


def _eta_loss(trained: Sequence[TrialSummary]) -> float | None:
    if any(trial.stopped_early == "decided" for trial in trained):
        return None
    losses = [
        (trial.training_loss_last, trial.learning_rate)
        for trial in trained
        if trial.training_loss_last is not None and math.isfinite(trial.training_loss_last)
    ]
    return min(losses)[1] if losses else None


def _crossing_or_reason(
    probe: ProbeSummary, trials: Sequence[TrialSummary], tolerance: float | None
) -> tuple[Crossing | None, str | None]:
    if probe.kappa is None or probe.gap_0 is None:
        return None, None if probe.refusal is None else probe.refusal.value
    slope_0 = probe.effective_steps * probe.kappa
    known = curve(probe.gap_0, slope_0, points_of(trials))
    closed = bracket(known)
    if closed is None or not (tolerance is None or closed.width <= tolerance):
        return None, _reason(known, trials, tolerance)
    pi_c = closed.root * slope_0 / abs(probe.gap_0)
    return Crossing(eta_c=closed.root, bracket=(closed.low, closed.high), pi_c=pi_c), None


def _reason(known: Curve, trials: Sequence[TrialSummary], tolerance: float | None) -> str:
    if tolerance is None:
        return "no_crossing_among_the_learning_rates"
    step = next_step(known, tolerance)
    if isinstance(step, NoRoot):
        return step.reason
    failed = [trial.outcome.value for trial in trials if not trial.outcome.trained]
    return failed[0] if failed else "search_not_finished"


def _probe_steps(probe: ProbeSummary) -> float:
    """Trial-steps of the probe; runs too old to store this probed κ only."""
    if probe.kappa is None:
        return 0
    return Measured.PROBE_STEPS if probe.trial_steps is None else probe.trial_steps
