"""The contexts that are watched in one training, and their traces so far."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from phantom_dist.core.measurement import Measurement, Trial, TrialResult
from phantom_dist.core.tokens import Tokens
from phantom_dist.core.trial import Problem
from phantom_dist.engines.recorder import with_gradient_norm
from phantom_dist.instruments.forecast import is_decided
from phantom_dist.instruments.outcome import ends


def why_early(trace: Sequence[Measurement], steps: int) -> str | None:
    """Why a trace ends before so many steps; None if it doesn't."""
    if trace[-1].step == steps:
        return None
    return "decided" if trace[-1].finite else "non_finite"


def outcome_is_decided(
    problem: Problem, trace: Sequence[Measurement], training_losses: Sequence[float] = ()
) -> bool:
    """Whether the rest of a trial can't change its outcome; `training_losses`: with a training set, of each step."""
    alone = problem.training is None
    return is_decided(
        problem.schedule,
        problem.steps,
        [measurement.step for measurement in trace],
        gap=[measurement.logit_gap for measurement in trace],
        drag=[measurement.drag for measurement in trace],
        loss=(trace[0].loss, trace[-1].loss) if alone else ends(training_losses),
        structural_drag=problem.thresholds.structural_drag,
    )


class Watch:
    """One training with its trials, which differ in their contexts only.

    A trial's trace ends with the last step, or once a measurement of it is NaN or Inf. The training ends with the last
    trace; with early stopping once all trials that go on are decided.
    """

    def __init__(self, trials: Sequence[Trial]) -> None:
        self.trials = tuple(trials)
        self.problem: Problem = trials[0].problem
        self.learning_rate = trials[0].learning_rate
        self.tokens: list[Tokens] = [trial.measured.tokens for trial in trials]
        self._traces: list[list[Measurement]] = [[] for _ in trials]
        self._losses: list[float] = []

    def is_due(self, step: int) -> bool:
        """Whether the contexts are measured after `step` optimizer steps."""
        training = self.problem.training
        return training is None or training.is_measured(step, self.problem.steps)

    def add(self, measurements: Sequence[Measurement]) -> None:
        """Add a measurement of every context."""
        for trace, measurement in zip(self._traces, measurements, strict=True):
            if not trace or trace[-1].finite:
                trace.append(measurement)

    @property
    def ended(self) -> bool:
        """True after the last step, or once no context is finite, or all are decided: nothing can change after that."""
        return all(self._has_ended(trace) or self._is_decided(trace) for trace in self._traces)

    def stepped(self, step: int, gradient_norm: float, loss: float) -> None:
        """Add what became known of the step that follows `step` steps."""
        is_set = self.problem.training is not None
        if is_set:
            self._losses.append(loss)
        for trace in self._traces:
            if trace[-1].step == step and not self._has_ended(trace):
                trace[-1] = with_gradient_norm(trace[-1], gradient_norm, loss if is_set else None)

    def results(self, vocabulary_size: int, wall_time: float, engine: str) -> Iterator[TrialResult]:
        """The trials' results; each has its share of the time."""
        for trial, trace in zip(self.trials, self._traces, strict=True):
            yield TrialResult(
                trial=trial,
                trace=tuple(trace),
                vocabulary_size=vocabulary_size,
                wall_time=wall_time / len(self.trials),
                engine=engine,
                stopped_early=why_early(trace, self.problem.steps),
                training_losses=tuple(self._losses),
            )

    def _is_decided(self, trace: Sequence[Measurement]) -> bool:
        return self.problem.early_stopping and outcome_is_decided(self.problem, trace, self._losses)

    def _has_ended(self, trace: Sequence[Measurement]) -> bool:
        return trace[-1].step == self.problem.steps or not trace[-1].finite
