"""One problem's way through a run: which learning rates are still to be trained, from what is stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from phantom_dist.core.outcome import Outcome
from phantom_dist.refinement.critical_rate import points_of
from phantom_dist.refinement.curve import Curve, curve
from phantom_dist.refinement.root_search import Ask, Bracket, Expected, bracket, next_step

Row = dict[str, Any]

EXPECTED_TRIALS = 4
"""What a search takes as a rule; for predictions of time only."""


@dataclass(kw_only=True)
class Search:
    """The learning rates of one problem: given ones, or (with a `tolerance`) a search for g_T(η) = 0.

    `gap_0` (logits) and `slope_0` = T κ (logits) are the probe's. `rows` are the problem's
    stored rows of `trials/`. `expected`: where a search starts; None for first order.
    """

    gap_0: float
    slope_0: float

    learning_rates: tuple[float, ...] = ()
    tolerance: float | None = None
    expected: Expected | None = None
    rows: list[Row] = field(default_factory=list)

    def next_learning_rates(self, together: int = 1) -> tuple[float, ...]:
        """The learning rates to train next, all at once; empty when nothing is left.

        Args:
            together: how many a search may ask for at once.
        """
        if any(Outcome(row["outcome"]).refused for row in self.rows):
            return ()
        tried = {row["learning_rate"] for row in self.rows}
        if self.tolerance is None:
            return tuple(rate for rate in self.learning_rates if rate not in tried)
        if any(not Outcome(row["outcome"]).trained for row in self.rows):
            return ()
        step = next_step(self._curve, self.tolerance, expected=self.expected, together=together)
        return step.learning_rates if isinstance(step, Ask) else ()

    @property
    def bracket(self) -> Bracket | None:
        """The narrowest bracket so far."""
        return bracket(self._curve)

    @property
    def _curve(self) -> Curve:
        return curve(self.gap_0, self.slope_0, points_of(self.rows))

    @property
    def expected_trials(self) -> int:
        """Trials in the end, as far as can be told before the end."""
        return (
            len(self.learning_rates) if self.tolerance is None else max(EXPECTED_TRIALS, len(self.rows) + 1)
        )
