"""What each training on a training set taught: the share of its watched words that it learnt."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from phantom_dist.core.outcome import Outcome
from phantom_dist.core.summaries import ProbeSummary, TrialSummary


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """One training on a training set.

    Attributes:
        training_id: its content address.
        model: the model reference.
        recipe: the preset that the sweep named; None without one.
        learning_rate: peak η.
        training_loss: mean over the last tenth of its steps, nats; None or not finite if it diverged.
        learnt: share of the watched words with g_T > 0, held-out contexts left out; None if there are none.
        learnt_held_out: the same of held-out contexts alone.
    """

    training_id: str
    model: str
    recipe: str | None
    learning_rate: float
    training_loss: float | None
    learnt: float | None
    learnt_held_out: float | None

    def to_json(self) -> dict[str, Any]:
        """The object in `trainings` of the JSON of `run` and `status`."""
        return asdict(self)


def trainings(
    probes: Iterable[ProbeSummary], trials: Iterable[TrialSummary], recipe: str | None = None
) -> tuple[Training, ...]:
    """The trainings of a run, by model and ascending learning rate; empty without a training set."""
    held_out = {probe.problem for probe in probes if probe.held_out}
    watched: dict[str, list[TrialSummary]] = {}
    for trial in trials:
        if trial.training_id is not None:
            watched.setdefault(trial.training_id, []).append(trial)
    found = [
        Training(
            training_id=name,
            model=group[0].model,
            recipe=recipe,
            learning_rate=group[0].learning_rate or 0.0,
            training_loss=group[0].training_loss_last,
            learnt=_share(trial for trial in group if trial.problem not in held_out),
            learnt_held_out=_share(trial for trial in group if trial.problem in held_out),
        )
        for name, group in watched.items()
    ]
    return tuple(sorted(found, key=lambda t: (t.model, t.learning_rate, t.training_id)))


def _share(trials: Iterable[TrialSummary]) -> float | None:
    learnt = [trial.outcome is Outcome.COMMITTED for trial in trials]
    return sum(learnt) / len(learnt) if learnt else None
