"""The critical rate as an Optuna study: a sampler for which g_T(η) = 0 is a root to be found, not a loss to be lowered.

    study = optuna.create_study(sampler=CriticalRateSampler(gap_0=…, slope_0=…, tolerance=0.01, expected=…))
    while (trial := ask(study)) is not None:
        tell(study, trial, gap=train(trial.params["learning_rate"]))

The state is the study's trials and nothing else, so any Optuna storage keeps a search and continues it; what was
running when a process died is given up by `abandon_running`. The value of a trial is |g_T|; g_T itself and the outcome
are user attributes, which `record` sets, so that Optuna's own loop does as well and ends when the bracket is closed:

    study.optimize(lambda trial: record(trial, gap=train(suggest(trial))))

`root_search` places the trials; what is proposed while others run is trained together with them.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.samplers import BaseSampler
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from phantom_dist.core.outcome import Outcome
from phantom_dist.refinement.curve import Curve, Point, curve
from phantom_dist.refinement.root_search import Ask, Bracket, Expected, NoRoot, next_step

MOST_REPLICAS = 4
"""Times the requested replicas, where the sign of a mean stays within two standard errors of 0."""

LEARNING_RATE = "learning_rate"
GAP, OUTCOME = "gap", "outcome"
Seen = dict[float, list[tuple[float, Outcome]]]
RANGE = FloatDistribution(1e-12, 1e6, log=True)
"""Of the learning rate: what a float can sensibly be. The search doesn't use its ends."""


class CriticalRateSampler(BaseSampler):
    """Places trials to close a bracket of g_T(η) = 0.

    Args:
        gap_0: g_0 < 0, logits.
        slope_0: h'(0) = T κ > 0, logits.
        tolerance: largest relative width of the bracket.
        expected: a predicted η_c and its interval (low, rate, high), where there is a prediction.
        replicas: trials at one learning rate that are averaged (noise of seeds); its gap is the mean of at least so
            many, and of up to four times as many where they leave the mean's sign open: an end of the bracket within
            two standard errors of 0.
    """

    def __init__(
        self,
        *,
        gap_0: float,
        slope_0: float,
        tolerance: float,
        expected: Expected | None = None,
        replicas: int = 1,
    ) -> None:
        self._gap_0, self._slope_0, self._tolerance = gap_0, slope_0, tolerance
        self._expected, self._replicas = expected, replicas

    def next_rate(self, study: Study) -> float | None:
        """The learning rate of the next trial; None where the bracket is closed or there is no root."""
        finished, running = _rates(study)
        for rate in dict.fromkeys([*finished, *running]):
            if len(finished.get(rate, [])) + running.count(rate) < self._replicas:
                return rate
        known = self._curve(finished)
        open_end = self._open_end(known, finished, running)
        if open_end is not None:
            return open_end
        taken = {point.learning_rate for point in known.points} | set(running)
        step = next_step(
            known, self._tolerance, expected=self._expected, trials_per_search=len(set(running)) + 1
        )
        proposed = step.learning_rates if isinstance(step, Ask) else ()
        return next((rate for rate in proposed if rate not in taken), None)

    def result(self, study: Study) -> Bracket | NoRoot | None:
        """The closed bracket, or why there is none; None while the search goes on."""
        finished, running = _rates(study)
        known = self._curve(finished)
        step = next_step(known, self._tolerance)
        return None if isinstance(step, Ask) or self._open_end(known, finished, running) is not None else step

    def _open_end(self, known: Curve, finished: Seen, running: Sequence[float]) -> float | None:
        """An end of the bracket whose side is not settled by its replicas, and may have more of them."""
        for end in (known.below, known.above):
            if end is None or self._replicas < 2:
                continue
            gaps = [gap for gap, _ in finished[end.learning_rate]]
            error = statistics.stdev(gaps) / math.sqrt(len(gaps))
            enough = len(gaps) + running.count(end.learning_rate) >= MOST_REPLICAS * self._replicas
            if abs(end.gap) < 2 * error and not enough:
                return end.learning_rate
        return None

    def _curve(self, finished: Seen) -> Curve:
        points = [
            Point(
                learning_rate=rate,
                gap=sum(gap for gap, _ in seen) / len(seen),
                outcome=next((o for _, o in seen if o is Outcome.DIVERGED), seen[0][1]),
            )
            for rate, seen in finished.items()
            if len(seen) >= self._replicas
        ]
        return curve(self._gap_0, self._slope_0, points)

    # -- Optuna's interface -------------------------------------------------------------------------------------------

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The learning rate alone."""
        return {LEARNING_RATE: RANGE}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next learning rate.

        Raises:
            RuntimeError: the search is over; `ask` returns None then.
        """
        rate = self.next_rate(study)
        if rate is None:
            raise RuntimeError("this search proposes nothing more; see CriticalRateSampler.result")
        return {LEARNING_RATE: rate}

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """End `study.optimize` with the search.

        Raises:
            RuntimeError: the trial was told to the study without its gap, so that its side of the root is unknown.
        """
        if state is not TrialState.COMPLETE:
            return
        if OUTCOME not in trial.user_attrs:
            raise RuntimeError(
                f"trial {trial.number} was told |g_T| alone, which doesn't say on which side of the root it is; "
                "use `record` in the objective, or `tell` of phantom_dist.refinement.sampler"
            )
        if self.result(study) is not None:
            with suppress(
                RuntimeError
            ):  # nothing to stop: the trial was told from outside of `study.optimize`
                study.stop()

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """There is no other parameter.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"a critical rate is searched over {LEARNING_RATE!r} alone, not {param_name!r}")


def ask(study: Study) -> Trial | None:
    """The next trial; None where the sampler proposes nothing more, or waits for what is running."""
    sampler = study.sampler
    assert isinstance(sampler, CriticalRateSampler)
    if sampler.next_rate(study) is None:
        return None
    return study.ask({LEARNING_RATE: RANGE})


def ask_batch(study: Study, most: int) -> list[Trial]:
    """Up to so many trials to be trained together."""
    trials: list[Trial] = []
    while len(trials) < most and (trial := ask(study)) is not None:
        trials.append(trial)
    return trials


def tell(study: Study, trial: Trial, *, gap: float, outcome: Outcome | None = None) -> None:
    """Record a trained trial.

    Args:
        study: the study.
        trial: from `ask`.
        gap: g_T, logits; NaN where training became NaN or Inf.
        outcome: None: committed or kinematic by the gap's sign, diverged where it is not finite.
    """
    study.tell(trial, record(trial, gap=gap, outcome=outcome))


def suggest(trial: Trial) -> float:
    """The learning rate of a trial, within an objective."""
    return trial.suggest_float(LEARNING_RATE, RANGE.low, RANGE.high, log=True)


def record(trial: Trial, *, gap: float, outcome: Outcome | None = None) -> float:
    """Keep g_T and the outcome with a trial (as `tell` takes them); the value that its objective returns, |g_T|."""
    if outcome is None:
        outcome = Outcome.COMMITTED if gap > 0 else Outcome.KINEMATIC
        outcome = outcome if math.isfinite(gap) else Outcome.DIVERGED
    trial.set_user_attr(GAP, gap if math.isfinite(gap) else None)
    trial.set_user_attr(OUTCOME, outcome.value)
    return size(gap)


def size(gap: float | None) -> float:
    """|g_T|, the value of a trial; what is not finite, which Optuna doesn't take, is larger than anything real."""
    return abs(gap) if gap is not None and math.isfinite(gap) else 1e9


def abandon_running(study: Study) -> int:
    """Give up the trials that a dead process left running, so that their rates are proposed again; how many.

    Optuna can't tell them from those that another process is training; call it when there is none.
    """
    left = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in left:
        study.tell(trial.number, state=TrialState.FAIL)
    return len(left)


def _rates(study: Study) -> tuple[Seen, list[float]]:
    """(gap, outcome) of finished trials by learning rate, and the learning rates of running ones."""
    finished: Seen = {}
    running: list[float] = []
    trials: Sequence[FrozenTrial] = study.get_trials(deepcopy=False)
    for trial in trials:
        rate = trial.params.get(LEARNING_RATE)
        if rate is None:
            continue
        if OUTCOME in trial.user_attrs and trial.state in (TrialState.COMPLETE, TrialState.RUNNING):
            # A running one that has its gap is about to be told, or its process died just then.
            gap = trial.user_attrs[GAP]
            seen = (math.nan if gap is None else gap, Outcome(trial.user_attrs[OUTCOME]))
            finished.setdefault(rate, []).append(seen)
        elif trial.state is TrialState.RUNNING:
            running.append(rate)
    return finished, running


def journal(path: str) -> optuna.storages.JournalStorage:
    """The default storage: Optuna's journal in a file."""
    return optuna.storages.JournalStorage(JournalFileBackend(path))
