"""The critical rate as an Optuna study: a sampler that finds the root of g_T(η) instead of minimising a loss.

    study = optuna.create_study(sampler=CriticalRateSampler(gap_0=…, slope_0=…, tolerance=0.01, expected=…))
    while (trial := ask(study)) is not None:
        tell(study, trial, gap=train(trial.params["learning_rate"]))

The study's trials are the only state, so a search can be stored in any Optuna storage and continued from it.
`abandon_running` fails the trials that were running when a process died. A trial's value is |g_T|; g_T itself and the
outcome are user attributes, which `record` sets. So Optuna's own loop works too, and ends when the bracket is closed:

    study.optimize(lambda trial: record(trial, gap=train(suggest(trial))))

`root_search` places the trials. A trial that is asked for while others run belongs to the same round.
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
"""The most replicas, as a multiple of the requested ones, while a mean lies within two standard errors of 0."""

LEARNING_RATE = "learning_rate"
GAP, OUTCOME = "gap", "outcome"
Finished = dict[float, list[tuple[float, Outcome]]]
"""Gap and outcome of each finished trial, by learning rate."""

RANGE = FloatDistribution(1e-12, 1e6, log=True)
"""The learning rate's distribution, which Optuna requires; the search doesn't depend on its bounds."""


class CriticalRateSampler(BaseSampler):
    """Places trials to close a bracket of g_T(η) = 0.

    Args:
        gap_0: g_0 < 0, logits.
        slope_0: h'(0) = T κ > 0, logits.
        tolerance: largest relative width of the bracket.
        expected: a predicted η_c and its interval (low, rate, high), if there is a prediction.
        replicas: trials at each learning rate, whose gaps are averaged (noise of seeds). An end of the bracket whose
            mean lies within two standard errors of 0 gets more of them, up to four times as many.
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
        """The learning rate of the next trial; None if the search is over or must wait for running trials."""
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
        """The closed bracket, or the reason why there is none; None while the search is unfinished."""
        finished, running = _rates(study)
        known = self._curve(finished)
        step = next_step(known, self._tolerance)
        return None if isinstance(step, Ask) or self._open_end(known, finished, running) is not None else step

    def _open_end(self, known: Curve, finished: Finished, running: Sequence[float]) -> float | None:
        """An end of the bracket whose replicas leave its sign open, and that may have more of them."""
        for end in (known.below, known.above):
            if end is None or self._replicas < 2:
                continue
            gaps = [gap for gap, _ in finished[end.learning_rate]]
            error = statistics.stdev(gaps) / math.sqrt(len(gaps))
            enough = len(gaps) + running.count(end.learning_rate) >= MOST_REPLICAS * self._replicas
            if abs(end.gap) < 2 * error and not enough:
                return end.learning_rate
        return None

    def _curve(self, finished: Finished) -> Curve:
        """The mean gap at each rate that has all its replicas; diverged if any of them is."""
        points = [
            Point(
                learning_rate=rate,
                gap=sum(gap for gap, _ in results) / len(results),
                outcome=next((o for _, o in results if o is Outcome.DIVERGED), results[0][1]),
            )
            for rate, results in finished.items()
            if len(results) >= self._replicas
        ]
        return curve(self._gap_0, self._slope_0, points)

    # -- Optuna's interface -------------------------------------------------------------------------------------------

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The learning rate only."""
        return {LEARNING_RATE: RANGE}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next learning rate.

        Raises:
            RuntimeError: there is no next trial; `ask` returns None in that case.
        """
        rate = self.next_rate(study)
        if rate is None:
            raise RuntimeError("this search proposes no further trial; see CriticalRateSampler.result")
        return {LEARNING_RATE: rate}

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Stop `study.optimize` when the search is over.

        Raises:
            RuntimeError: the trial was told without its gap, so that its side of the root is unknown.
        """
        if state is not TrialState.COMPLETE:
            return
        if OUTCOME not in trial.user_attrs:
            raise RuntimeError(
                f"trial {trial.number} was told |g_T| without the gap's sign, so its side of the root is unknown: "
                "use `record` in the objective, or `tell` of phantom_dist.refinement.sampler"
            )
        if self.result(study) is not None:
            # Outside of `study.optimize` there is nothing to stop, and Optuna raises.
            with suppress(RuntimeError):
                study.stop()

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Refuse any other parameter.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"parameter {param_name!r}: this sampler supports {LEARNING_RATE!r} only")


def ask(study: Study) -> Trial | None:
    """The next trial; None if the search is over or must wait for running trials."""
    sampler = study.sampler
    assert isinstance(sampler, CriticalRateSampler)
    if sampler.next_rate(study) is None:
        return None
    return study.ask({LEARNING_RATE: RANGE})


def ask_batch(study: Study, most: int) -> list[Trial]:
    """The next trials, at most `most`, to be trained in one round."""
    trials: list[Trial] = []
    while len(trials) < most and (trial := ask(study)) is not None:
        trials.append(trial)
    return trials


def tell(study: Study, trial: Trial, *, gap: float, outcome: Outcome | None = None) -> None:
    """Record a trained trial.

    Args:
        study: the study.
        trial: from `ask`.
        gap: g_T, logits; NaN if training became NaN or Inf.
        outcome: if None, committed or kinematic by the gap's sign, or diverged if the gap is NaN or Inf.
    """
    study.tell(trial, record(trial, gap=gap, outcome=outcome))


def suggest(trial: Trial) -> float:
    """The learning rate of a trial, within an objective."""
    return trial.suggest_float(LEARNING_RATE, RANGE.low, RANGE.high, log=True)


def record(trial: Trial, *, gap: float, outcome: Outcome | None = None) -> float:
    """Store g_T and the outcome (arguments as of `tell`) in a trial; returns |g_T|, the objective's value."""
    if outcome is None:
        outcome = Outcome.COMMITTED if gap > 0 else Outcome.KINEMATIC
        outcome = outcome if math.isfinite(gap) else Outcome.DIVERGED
    trial.set_user_attr(GAP, gap if math.isfinite(gap) else None)
    trial.set_user_attr(OUTCOME, outcome.value)
    return size(gap)


def size(gap: float | None) -> float:
    """|g_T|, the value of a trial; 1e9 in place of NaN and Inf, which Optuna doesn't accept."""
    return abs(gap) if gap is not None and math.isfinite(gap) else 1e9


def abandon_running(study: Study) -> int:
    """Mark the trials that a dead process left running as failed, so that their rates are proposed again; how many.

    Call it only when no other process is training: Optuna can't distinguish that process's trials from these.
    """
    abandoned = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for trial in abandoned:
        study.tell(trial.number, state=TrialState.FAIL)
    return len(abandoned)


def _rates(study: Study) -> tuple[Finished, list[float]]:
    """The finished trials, and the learning rates of running ones."""
    finished: Finished = {}
    running: list[float] = []
    trials: Sequence[FrozenTrial] = study.get_trials(deepcopy=False)
    for trial in trials:
        rate = trial.params.get(LEARNING_RATE)
        if rate is None:
            continue
        if OUTCOME in trial.user_attrs and trial.state in (TrialState.COMPLETE, TrialState.RUNNING):
            # A running trial with a recorded gap is finished: it is about to be told, or its process died just before.
            gap = trial.user_attrs[GAP]
            result = (math.nan if gap is None else gap, Outcome(trial.user_attrs[OUTCOME]))
            finished.setdefault(rate, []).append(result)
        elif trial.state is TrialState.RUNNING:
            running.append(rate)
    return finished, running


def journal(path: str) -> optuna.storages.JournalStorage:
    """The default storage: Optuna's journal in a file."""
    return optuna.storages.JournalStorage(JournalFileBackend(path))
