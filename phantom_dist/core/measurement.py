"""An engine's input and output: trials to train, their measurements, and their results."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from phantom_dist.core.outcome import Outcome
from phantom_dist.core.probe_result import Measured, ProbeResult
from phantom_dist.core.trial import Problem, training_id, trial_id


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One training run: a probed problem and a learning rate."""

    measured: Measured
    learning_rate: float

    @property
    def problem(self) -> Problem:
        """The problem that this trial belongs to."""
        return self.measured.problem

    @property
    def id(self) -> str:
        """The content address; see `content_address`."""
        return content_address(self.measured, self.learning_rate)

    @property
    def training_id(self) -> str | None:
        """The content address of the training that it shares with other contexts; None without a training set."""
        model = self.measured.model
        if model.batches is None:
            return None
        problem = _resolved(self.measured)
        return training_id(problem, model.identity.weights, self.learning_rate, model.batches)


def by_training(trials: Iterable[Trial]) -> list[tuple[Trial, ...]]:
    """The trials grouped by the training that they watch, in order; without a training set each is alone."""
    groups: dict[object, list[Trial]] = {}
    for number, trial in enumerate(trials):
        problem = trial.problem
        shared = number if problem.training is None else problem.training_at(trial.learning_rate)
        groups.setdefault(shared, []).append(trial)
    return [tuple(group) for group in groups.values()]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """One row of a trace: the model after `step` optimizer steps. Fields as in `core.quantities.TRACE_COLUMNS`."""

    step: int
    loss: float
    logit_gap: float
    p_target: float
    p_competitor: float
    rank_target: int | None
    rank_competitor: int | None
    overlap: float
    order_parameter: float
    signal: float
    drag: float
    readout_change: float | None
    geometry_change: float | None
    embedding_drift: float
    gradient_norm: float | None
    readout_hash: str | None
    training_loss: float | None = None
    plugin_values: Mapping[str, float] = field(default_factory=dict)
    """Values of plug-in instruments, by column."""

    @property
    def finite(self) -> bool:
        """False once loss, gap or order parameter is NaN or Inf; nothing can change after that."""
        return all(map(math.isfinite, (self.loss, self.logit_gap, self.order_parameter)))


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialResult:
    """A trained trial.

    Attributes:
        trial: which trial.
        trace: measurements after s = 0..T steps, with a training set perhaps not after each; fewer if the trial was
            stopped early.
        vocabulary_size: V.
        wall_time: seconds of training and measuring; for a lane, its share of the batch's time.
        engine: the engine that trained it.
        note: why that is not the configured engine; None if it is.
        stopped_early: why there are fewer than T steps; None if there are not.
        training_losses: with a training set, the loss of each step's batch, in nats.
    """

    trial: Trial
    trace: tuple[Measurement, ...]
    vocabulary_size: int
    wall_time: float
    engine: str
    note: str | None = None
    stopped_early: str | None = None
    training_losses: tuple[float, ...] = ()

    @property
    def id(self) -> str:
        """The trial's content address."""
        return self.trial.id


@dataclass(frozen=True, kw_only=True, slots=True)
class Untrained:
    """A trial without a trace: its problem was refused, or the trial was given up after its retries.

    `learning_rate` is None for the single row of a search over a refused problem.
    """

    probed: ProbeResult
    learning_rate: float | None
    outcome: Outcome
    message: str

    @property
    def id(self) -> str:
        """The trial's content address."""
        return content_address(self.probed, self.learning_rate)


def content_address(probed: ProbeResult, learning_rate: float | None) -> str:
    """`core.trial.trial_id` of a probed problem, with the LoRA targets resolved for its model.

    Args:
        probed: the measured or refused problem.
        learning_rate: None if no learning rate was chosen.
    """
    model, pair = probed.model, probed.pair
    return trial_id(
        _resolved(probed),
        None if model is None else model.identity.weights,
        None if pair is None else pair.tokens,
        learning_rate,
        None if model is None else model.batches,
    )


def _resolved(probed: ProbeResult) -> Problem:
    """The problem with the names of the modules that get adapters."""
    problem, model = probed.problem, probed.model
    if problem.lora is None or model is None or model.lora_targets is None:
        return problem
    lora = problem.lora.model_copy(update={"targets": model.lora_targets})
    return problem.model_copy(update={"lora": lora})
