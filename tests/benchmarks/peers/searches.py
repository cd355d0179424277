"""Searchers of Ray Tune for critical rates: bisection, Optuna's TPE and GP, and the one that runs many side by side."""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import optuna
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from phantom_dist.core.outcome import Outcome
from phantom_dist.refinement.curve import Point, curve
from phantom_dist.refinement.root_search import Bracket, bracket

RATE = "learning_rate"
Result = dict[str, Any]


class Bisection(Searcher):
    """Both ends of an interval, then halves of ln η by the sign of g_T."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__(metric="gap", mode="max")
        self._low, self._high = low, high
        self._ends = [high, low]
        self._asked: dict[str, float] = {}

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """The next learning rate; one trial at a time."""
        self._asked[trial_id] = self._ends.pop() if self._ends else math.sqrt(self._low * self._high)
        return {RATE: self._asked[trial_id]}

    def on_trial_complete(self, trial_id: str, result: Result | None = None, error: bool = False) -> None:
        """Take the half that has the root."""
        rate = self._asked[trial_id]
        if result is not None and result["gap"] <= 0:
            self._low = max(self._low, rate)
        else:
            self._high = min(self._high, rate)


def optuna_search(sampler: optuna.samplers.BaseSampler, low: float, high: float) -> OptunaSearch:
    """Tune's own wrapper of Optuna, minimising |g_T|."""
    space = {RATE: optuna.distributions.FloatDistribution(low, high, log=True)}
    return OptunaSearch(space, metric="size", mode="min", sampler=sampler)


SEARCHES = {
    "bisection": Bisection,
    "tpe": lambda low, high: optuna_search(optuna.samplers.TPESampler(seed=0), low, high),
    "gp": lambda low, high: optuna_search(optuna.samplers.GPSampler(seed=0), low, high),
}


class ManySearches(Searcher):
    """One search for each problem in one experiment, so that actors keep their models from the first to the last.

    A problem has one trial at a time, and there are more problems than workers. It is over when two of its trials with
    opposite signs of g_T are within the tolerance, or after `most` trials.

    Args:
        searches: by the problem's key; each is asked for a learning rate.
        tolerance: largest relative width of the bracket.
        most: trials after which a problem is given up.
    """

    def __init__(self, searches: dict[str, Searcher], *, tolerance: float, most: int) -> None:
        super().__init__(metric="gap", mode="max")
        self._searches, self._tolerance, self._most = searches, tolerance, most
        self._running: dict[str, tuple[str, float]] = {}
        self._points: dict[str, list[Point]] = {key: [] for key in searches}

    @property
    def trials(self) -> int:
        """How many trials ended."""
        return sum(map(len, self._points.values()))

    def closed(self, key: str) -> Bracket | None:
        """The problem's bracket, once it is narrow enough; the rule and the code are those of `phantom-dist run`."""
        found = bracket(curve(-1.0, 1.0, self._points[key]))  # a bracket doesn't depend on the origin
        return found if found is not None and found.width <= self._tolerance else None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial of the problem that had fewest; None while all that are open are being trained."""
        still = [k for k, p in self._points.items() if len(p) < self._most and self.closed(k) is None]
        if not still:
            return Searcher.FINISHED
        busy = {key for key, _ in self._running.values()}
        free = [key for key in still if key not in busy]
        if not free:
            return None
        key = min(free, key=lambda k: len(self._points[k]))
        rate = self._searches[key].suggest(trial_id)[RATE]
        self._running[trial_id] = (key, rate)
        return {"problem": key, RATE: rate}

    def on_trial_result(self, trial_id: str, result: Result) -> None:
        """A trial has one result, its last."""

    def on_trial_complete(self, trial_id: str, result: Result | None = None, error: bool = False) -> None:
        """Tell the problem's own search."""
        key, rate = self._running.pop(trial_id)
        if not result or "gap" not in result:
            return  # stopped: the time is over
        self._searches[key].on_trial_complete(trial_id, result, error)
        gap = result["gap"]
        outcome = Outcome.COMMITTED if gap > 0 else Outcome.KINEMATIC
        outcome = outcome if math.isfinite(gap) else Outcome.DIVERGED
        self._points[key].append(Point(learning_rate=rate, gap=gap, outcome=outcome))

    def save(self, checkpoint_path: str) -> None:
        """Tune stores its searchers every ten seconds."""
        Path(checkpoint_path).write_bytes(pickle.dumps((self._searches, self._running, self._points)))

    def restore(self, checkpoint_path: str) -> None:
        """The way back."""
        state = pickle.loads(Path(checkpoint_path).read_bytes())
        self._searches, self._running, self._points = state
