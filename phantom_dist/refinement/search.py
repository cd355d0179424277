"""The learning rates that one problem still needs, given its trials so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from phantom_dist.core.summaries import TrialSummary
from phantom_dist.refinement.critical_rate import points_of
from phantom_dist.refinement.curve import Curve, curve
from phantom_dist.refinement.root_search import Ask, Bracket, Expected, bracket, next_step

EXPECTED_TRIALS = 4
"""Typical number of trials of a search; used to predict durations only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Search:
    """The learning rates of one problem: given ones, or (with a `tolerance`) a search for g_T(η) = 0.

    A search stores no trials: each method gets the problem's trials so far, so the same trials give the same result.

    Attributes:
        gap_0: g_0 of the untouched model, logits.
        slope_0: T κ, logits.
        learning_rates: the given ones; empty if the rates are searched for.
        tolerance: largest relative width of the bracket; None for given learning rates.
        multiples: the rates to train once the root is found, as multiples of it; above 1 + tolerance, so that they
            leave the bracket as it is.
        expected: where a search starts; None for first order, Π = 1.
        typical: typical number of its trials.
    """

    gap_0: float
    slope_0: float
    learning_rates: tuple[float, ...] = ()
    tolerance: float | None = None
    multiples: tuple[float, ...] = ()
    expected: Expected | None = None
    typical: int = EXPECTED_TRIALS

    def next_learning_rates(
        self, trials: Sequence[TrialSummary], *, trials_per_search: int = 1
    ) -> tuple[float, ...]:
        """The learning rates to train next, in one round; empty when the problem is done.

        Args:
            trials: this problem's trials so far.
            trials_per_search: the most trials that a search may propose in one round.
        """
        if any(trial.outcome.refused for trial in trials):
            return ()
        if self.tolerance is None:
            tried = {trial.learning_rate for trial in trials}
            return tuple(rate for rate in self.learning_rates if rate not in tried)
        if any(not trial.outcome.trained for trial in trials):
            return ()
        known = self._curve(trials)
        step = next_step(known, self.tolerance, expected=self.expected, trials_per_search=trials_per_search)
        match step:
            case Ask(learning_rates=rates):
                return rates
            case Bracket(root=root):
                tried = {point.learning_rate for point in known.points}
                beyond = (multiple * root for multiple in self.multiples)
                return tuple(rate for rate in beyond if rate not in tried)[:trials_per_search]
            case _:
                return ()

    def bracket(self, trials: Sequence[TrialSummary]) -> Bracket | None:
        """The narrowest bracket so far."""
        return bracket(self._curve(trials))

    def expected_trials(self, trials: Sequence[TrialSummary]) -> int:
        """The predicted final number of trials."""
        return len(self.learning_rates) if self.tolerance is None else max(self.typical, len(trials) + 1)

    def _curve(self, trials: Sequence[TrialSummary]) -> Curve:
        return curve(self.gap_0, self.slope_0, points_of(trials))
