"""What the untouched model says of a problem: everything that a search starts from, or a refusal.

Units as in `core.quantities`: gaps in logits, kappa in logits per step per unit learning rate, loss in nats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from phantom_dist.core.outcome import Outcome
from phantom_dist.core.trial import ModelIdentity, Problem, Tokens


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
class ModelReading:
    """The model as a problem trains it; known before the context is read.

    Attributes:
        identity: which model it is.
        width: d, columns of the readout matrix.
        lora_targets: names of the modules that get adapters, resolved for this architecture; None under full
            fine-tuning.
    """

    identity: ModelIdentity
    width: int
    lora_targets: tuple[str, ...] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class PairReading:
    """Target and competitor as the untouched model reads them: one forward pass and the readout matrix.

    `overlap_0` and `centred_overlap` are cosines of the two readout rows, the latter with the mean row subtracted;
    `synonym_floor` is the least centred overlap of near-synonyms.
    """

    tokens: Tokens
    gap_0: float
    loss_0: float
    overlap_0: float
    centred_overlap: float
    synonym_floor: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A problem that can be trained: its pair, the gap and the gap's rate κ.

    `path` where the path was probed as well and κ > 0.
    """

    PROBE_STEPS: ClassVar[float] = 2.0
    """Cost of measuring κ in trial-steps: one forward and two backward passes count as two."""

    problem: Problem
    model: ModelReading
    pair: PairReading
    kappa: float
    path: PathProbe | None = None

    @property
    def tokens(self) -> Tokens:
        """The context as the model reads it."""
        return self.pair.tokens

    @property
    def gap_0(self) -> float:
        """g of the untouched model, in logits."""
        return self.pair.gap_0

    @property
    def trial_steps(self) -> float:
        """What the probe cost, in trial-steps."""
        return self.PROBE_STEPS if self.path is None else self.path.trial_steps


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """A problem that is not trained, and what was known of it when it was refused.

    `pair` is None where the context could not be read; `model` as well where the probe itself was given up.
    """

    problem: Problem
    outcome: Outcome
    message: str
    model: ModelReading | None = None
    pair: PairReading | None = None


ProbeResult = Measured | Refused
