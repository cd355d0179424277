"""The result of probing a problem on the untouched model: the starting values of its search, or a refusal.

Units as in `core.quantities`: gaps in logits, kappa in logits per step per unit learning rate, loss in nats.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from phantom_dist.core.outcome import Outcome
from phantom_dist.core.tokens import Tokens
from phantom_dist.core.trial import ModelIdentity, Problem


@dataclass(frozen=True, kw_only=True, slots=True)
class PathProbe:
    """Estimates of the critical learning rate from a few gradients along a problem's path.

    Attributes:
        learning_rates: successive estimates of η_c: where the first walk began, one after each point, and one after
            the final measurement of the gap. Dimensionless, like η.
        log_odds_0: ln p_t / (1 − p_t) of the untouched model.
        gap_end: the gap (logits) at the end of the last walk; an exact walk would end at 0.
        trial_steps: cost in trial-steps, κ included.
    """

    STEPS: ClassVar[float] = 4
    """Least cost in trial-steps, κ included."""

    MOST: ClassVar[float] = 0.2
    """Largest correction of ln η that the last step may make. A correction cut to this size means: not converged."""

    LEFT: ClassVar[Mapping[str, float]] = {"full sgd": 0.2, "full adamw": 0.1, "lora adamw": 0.2}
    """Largest share of the gap that may remain after the last walk, by training class.

    A path with a larger remainder has not converged, however small its last correction: beyond its points the walk may
    be far too steep. On architectures left out intervals cover nine of ten rates up to here, and few beyond.
    """

    FALL: ClassVar[float] = 2.0
    """Largest factor by which the rate may fall below that of the first walk.

    Points of a walk at a much higher rate lie far beyond the crossing, where the model is another one: with κ growing
    17-fold up to the crossing ("garbage" for "trash" on SmolLM2) such a path ended with the gap closed and a rate 2.7
    times the measured one.
    """

    MORE: ClassVar[int] = 2
    """Most further points that are measured, one after another, while the last correction is cut."""

    RESTARTS: ClassVar[int] = 3
    """How often a path that didn't close is walked anew, from the rate that it arrived at."""

    ANEW: ClassVar[float] = 0.1
    """Least |ln| of that rate over the first walk's for which it is: from the same rate follow the same points."""

    learning_rates: tuple[float, ...]
    log_odds_0: float
    gap_end: float
    trial_steps: float

    @classmethod
    def why_open(cls, learning_rates: Sequence[float], left: float, training_class: str) -> str | None:
        """Why a path did not close, so that the error of its rate is unknown; None if it did.

        Args:
            learning_rates: as the attribute; empty or a single one have nothing to judge.
            left: |gap_end / g_0|.
            training_class: e.g. `full sgd`, calibrated or not.
        """
        if len(learning_rates) < 2:
            return None
        first, before, last = learning_rates[0], *learning_rates[-2:]
        if cls.is_cut(before, last):
            correction, side = math.log(last / before), "above" if last > before else "below"
            return (
                f"its last correction of ln eta was clipped at {correction:+.2g}, so the critical rate probably lies "
                f"{side} the prediction"
            )
        # No width was measured for other classes, as LoRA under SGD: the strictest limit.
        if left > cls.LEFT.get(training_class, min(cls.LEFT.values())):
            return f"its last walk leaves {left:.2g} of the gap open"
        if first / last > cls.FALL:
            return f"its rate fell to {last / first:.2g} of the first walk's, whose points lie too far out"
        return None

    @classmethod
    def is_cut(cls, before: float, after: float) -> bool:
        """Whether the correction from one rate to the next has the largest size that is allowed, so that it was cut."""
        return abs(math.log(after / before)) >= cls.MOST - 1e-9


@dataclass(frozen=True, kw_only=True, slots=True)
class SetProbe:
    """What a law needs of a training on a data set, beside κ along the mean loss of a sample (`data.sample`).

    Attributes:
        kappa: κ along the mean loss of the sample, which differs from `Measured.kappa` where that was measured along
            another one.
        share: of the training's weight in examples that hold the target, in [0, 1].
        drawn: number of examples of the sample that hold it.
        learning_rates: successive estimates of η_c: first order, and under LoRA with the adapters' growth. Where κ <= 0
            the median of the training's other words' last one; empty if there is no other.
        log_odds_0: ln p_t / (1 − p_t) of the untouched model.
        reach: the share of the training's loss that has to be used up, to first order, until the word is learnt.
        trial_steps: this word's part of the cost, in steps of the training.
    """

    STEPS: ClassVar[float] = 8
    SHARE: ClassVar[float] = 0.05
    """What a training's sample may cost in its own steps, or as a share of them, whichever is more."""

    kappa: float
    share: float
    drawn: int
    learning_rates: tuple[float, ...]
    log_odds_0: float
    reach: float
    trial_steps: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelReading:
    """Facts about a problem's model that are known before the context is read.

    Attributes:
        identity: the model's identity.
        width: d, columns of the readout matrix.
        lora_targets: names of the modules that get adapters, resolved for this architecture; None under full
            fine-tuning.
        batches: sha256 of the tokens of all batches (`data.Batches.digest`); None without a training set.
        examples_used, examples_cut: how many examples of the training set have a token that the loss counts, and how
            many were cut at `max_length`.
    """

    identity: ModelIdentity
    width: int
    lora_targets: tuple[str, ...] | None
    batches: str | None = None
    examples_used: int | None = None
    examples_cut: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class PairReading:
    """Target and competitor on the untouched model, from one forward pass and the readout matrix.

    Attributes:
        tokens: the context's tokens.
        gap_0, loss_0: logit gap and loss of the untouched model.
        overlap_0: cosine of the two readout rows.
        centred_overlap: the same after the mean row is subtracted from both.
        synonym_floor: least centred overlap of near-synonyms.
    """

    tokens: Tokens
    gap_0: float
    loss_0: float
    overlap_0: float
    centred_overlap: float
    synonym_floor: float

    @property
    def near_synonym(self) -> bool | None:
        """Whether the centred overlap reaches the floor; None for words of several tokens.

        The overlap of two pieces of words says nothing of the words.
        """
        return self.centred_overlap >= self.synonym_floor if self.tokens.pair_kind == "single" else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A problem that can be trained.

    Attributes:
        problem: which problem.
        model, pair: facts about its model, and its target and competitor.
        kappa: κ, the initial rate of the gap.
        path: the path probe; None if the path was not probed, or κ <= 0.
        on_set: with a training set, what a prediction needs; None where nothing is predicted.
    """

    PROBE_STEPS: ClassVar[float] = 2.0
    """Cost of measuring κ in trial-steps: one forward and two backward passes count as two steps."""

    problem: Problem
    model: ModelReading
    pair: PairReading
    kappa: float
    path: PathProbe | None = None
    on_set: SetProbe | None = None

    @property
    def tokens(self) -> Tokens:
        """The context's tokens."""
        return self.pair.tokens

    @property
    def gap_0(self) -> float:
        """g of the untouched model, in logits."""
        return self.pair.gap_0

    @property
    def estimated(self) -> PathProbe | SetProbe | None:
        """From what a law predicts its critical rate; None where that was not probed, or there is no estimate."""
        probed = self.path or self.on_set
        return probed if probed is not None and probed.learning_rates else None

    @property
    def trial_steps(self) -> float:
        """Cost of the probe in trial-steps."""
        costly = self.path or self.on_set
        return self.PROBE_STEPS if costly is None else costly.trial_steps


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """A problem that is not trained, with what was known when it was refused.

    `pair` is None if the context could not be read; `model` is None too if the probe itself was given up.
    """

    problem: Problem
    outcome: Outcome
    message: str
    model: ModelReading | None = None
    pair: PairReading | None = None


ProbeResult = Measured | Refused
