"""Computes a run's progress from its state."""

from __future__ import annotations

from phantom_dist.campaign.progress import Progress, SearchProgress, title
from phantom_dist.campaign.run_state import RunState
from phantom_dist.core.probe_result import Refused

_Version = tuple[int, bool, bool]
"""The facts on which a search's progress depends: number of trials, whether it was probed, whether it is settled."""


class ProgressView:
    """Computes progress from a run's state.

    It is computed at every heartbeat, and each search takes 0.2 ms; so the progress of searches without news is cached.
    """

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._cached: dict[str, tuple[_Version, SearchProgress]] = {}

    def progress(self, *, elapsed: float, workers: int) -> Progress:
        """The run's progress; `elapsed`: seconds since this start."""
        state = self._state
        searches = tuple(map(self._search, state.problems))
        done, expected = sum(s.trials for s in searches), sum(s.expected for s in searches)
        rate = (done - state.restored) / elapsed if elapsed else 0.0
        return Progress(
            name=state.plan.spec.name,
            elapsed=elapsed,
            left=(expected - done) / rate if rate else None,
            done=done,
            expected=expected,
            trials_per_second=rate,
            outcomes=dict(state.outcomes),
            searches=searches,
            workers=workers,
        )

    def _search(self, key: str) -> SearchProgress:
        state = self._state
        version = len(state.trials[key]), key in state.results, key in state.settled
        if key not in self._cached or self._cached[key][0] != version:
            self._cached[key] = version, self._computed(key)
        return self._cached[key][1]

    def _computed(self, key: str) -> SearchProgress:
        state = self._state
        trials, search, rates = state.trials[key], state.searches.get(key), state.plan.learning_rates
        refused = isinstance(state.results.get(key), Refused)
        all_given = state.plan.tolerance is None and len(trials) >= len(rates)
        finished = refused or all_given or key in state.settled
        bracket = search.bracket(trials) if search is not None else None
        to_come = search.expected_trials(trials) if search else len(rates) or state.plan.typical_trials
        return SearchProgress(
            name=title(state.problems[key]),
            trials=len(trials),
            expected=len(trials) if finished else to_come,
            bracket=(bracket.low, bracket.high) if bracket else None,
            finished=finished,
        )
