"""Where a run stands, as its observer sees it."""

from __future__ import annotations

from phantom_dist.campaign.progress import Progress, SearchProgress, title
from phantom_dist.campaign.run_state import RunState
from phantom_dist.core.probe_result import Refused
from phantom_dist.refinement.search import EXPECTED_TRIALS

_Known = tuple[int, bool, bool]
"""What a search's progress depends on: trials, whether it was probed, whether it wants more."""


class ProgressView:
    """Reads a run's state.

    It is asked for at every heartbeat, and a search that looks at its trials takes 0.2 ms: what nothing new is known
    of is kept.
    """

    def __init__(self, state: RunState) -> None:
        self._state = state
        self._kept: dict[str, tuple[_Known, SearchProgress]] = {}

    def progress(self, *, elapsed: float, workers: int) -> Progress:
        """Where the run stands, so many seconds (s) after it started, on so many workers."""
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
        known = len(state.trials[key]), key in state.results, key in state.settled
        if key not in self._kept or self._kept[key][0] != known:
            self._kept[key] = known, self._looked_at(key)
        return self._kept[key][1]

    def _looked_at(self, key: str) -> SearchProgress:
        state = self._state
        trials, search, rates = state.trials[key], state.searches.get(key), state.plan.learning_rates
        refused = isinstance(state.results.get(key), Refused)
        all_given = state.plan.tolerance is None and len(trials) >= len(rates)
        finished = refused or all_given or key in state.settled
        bracket = search.bracket(trials) if search is not None else None
        to_come = search.expected_trials(trials) if search else len(rates) or EXPECTED_TRIALS
        return SearchProgress(
            name=title(state.problems[key]),
            trials=len(trials),
            expected=len(trials) if finished else to_come,
            bracket=(bracket.low, bracket.high) if bracket else None,
            finished=finished,
        )
