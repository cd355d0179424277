"""What an engine hands over: the origin of a problem, a trial to train, the measurements it yields."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from phantom_dist.core.outcome import Outcome
from phantom_dist.core.trial import ModelIdentity, Problem, Tokens, trial_id


@dataclass(frozen=True, kw_only=True, slots=True)
class PathProbe:
    """What a few gradients along a problem's path say of its critical learning rate.

    Attributes:
        learning_rates: successive answers: where the first walk began, one after each point, the one after the last
            look at the gap. Dimensionless, as η is.
        log_odds_0: ln p_t / (1 − p_t) of the untouched model.
        gap_end: the gap (logits) where the last walk ended; 0 were the walk exact.
        trial_steps: what it cost, in trial-steps, κ included.
    """

    STEPS: ClassVar[float] = 4
    """Trial-steps that it costs at least, κ included."""

    MOST: ClassVar[float] = 0.2
    """Largest last correction of ln η; a path that is cut there did not close."""

    LEFT: ClassVar[Mapping[str, float]] = {"full": 0.1, "lora": 0.2}
    """Largest share of the gap that the last walk may leave, by method: a path that leaves more did not close, however
    small its last correction is. Where the walk runs beyond its points, its slope there may be far too steep."""

    MORE: ClassVar[int] = 2
    """Further points, one after another, that are measured at most where the last correction was cut."""

    learning_rates: tuple[float, ...]
    log_odds_0: float
    gap_end: float
    trial_steps: float

    @classmethod
    def is_cut(cls, before: float, after: float) -> bool:
        """Whether the correction from one rate to the next is the largest that is made, and so was cut."""
        return abs(math.log(after / before)) >= cls.MOST - 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """What the untouched model says about a problem: its tokens, its gap and the gap's rate; or a refusal.

    Units as in `core.quantities`: gaps in logits, kappa in logits per step per unit learning rate, loss in nats.
    `width`: d, columns of the readout matrix. `path` where it was probed as well and κ > 0.
    A number is None where the refusal came before it could be measured.
    """

    problem: Problem
    identity: ModelIdentity | None = None
    tokens: Tokens | None = None
    lora_targets: tuple[str, ...] | None = None
    gap_0: float | None = None
    loss_0: float | None = None
    kappa: float | None = None
    overlap_0: float | None = None
    centred_overlap: float | None = None
    synonym_floor: float | None = None
    width: int | None = None
    path: PathProbe | None = None
    refusal: Outcome | None = None
    message: str | None = None

    PROBE_STEPS = 2
    """Cost of measuring κ in trial-steps: one forward and two backward passes count as two."""

    @property
    def trial_steps(self) -> float:
        """What the probe cost, in trial-steps."""
        if self.path is not None:
            return self.path.trial_steps
        return 0.0 if self.kappa is None else float(self.PROBE_STEPS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One training run that is asked for: an origin and a learning rate (None: a refusal to be recorded)."""

    origin: Origin
    learning_rate: float | None

    @property
    def problem(self) -> Problem:
        """The problem that this trial belongs to."""
        return self.origin.problem

    @property
    def id(self) -> str:
        """The content address (`core.trial.trial_id`), with the adapters' targets as resolved for this model."""
        problem = self.problem
        if problem.lora is not None and self.origin.lora_targets is not None:
            lora = problem.lora.model_copy(update={"targets": self.origin.lora_targets})
            problem = problem.model_copy(update={"lora": lora})
        weights = None if self.origin.identity is None else self.origin.identity.weights
        return trial_id(problem, weights, self.origin.tokens, self.learning_rate)


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
    outside: Mapping[str, float] = field(default_factory=dict)
    """What other packages' instruments say, by column."""

    @property
    def finite(self) -> bool:
        """False once training has left the finite numbers; nothing can change after that."""
        return all(map(math.isfinite, (self.loss, self.logit_gap, self.order_parameter)))


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialResult:
    """A finished trial: its trace s = 0..T (shorter where `stopped_early` says why), or an outcome without one.

    `wall_time` in seconds, for a lane its share of its batch's; `engine` says what trained it, `note` why it was not
    the engine that was asked for.
    """

    trial: Trial
    trace: tuple[Measurement, ...]
    vocabulary_size: int
    wall_time: float
    engine: str | None = None
    note: str | None = None
    stopped_early: str | None = None
    untrained: Outcome | None = None
    error: str | None = None
