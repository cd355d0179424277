"""LoRA sufficiency, the second quantity: does a statistic of the readout's bulk split architectures by it?

LoRA is sufficient in a context if some learning rate below divergence commits within T steps, and the committing trial
is no structural failure (its drag hasn't fallen by more than the threshold). A threshold on one statistic splits
architectures into two classes. We accept the split only if it predicts architectures left out better than the majority
does; statistic and threshold are chosen without the architecture left out. That there are two classes is the paper's
claim; this test of it is ours.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

STATISTICS = ("mean", "rms", "rank", "centred_rms", "centred_rank")
FEWEST = 2
"""Minimum number of architectures on each side; a class of one would vanish when that one is left out."""

GAIN = 0.05
"""Share by which two classes must lower the number of wrong predictions."""

SETTINGS = ("optimizer", "lora_rank", "lora_alpha", "lora_targets", "schedule", "steps", "precision")
"""One count covers all contexts of a model with equal values of these settings."""

KEYS = ("model", "weights", *SETTINGS, "contexts", "sufficient", "reasons", "bulk")
"""Keys of a count in a law file, in the order in which they are written."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SufficiencyCount:
    """Number of contexts in which LoRA was sufficient, for one model and one training.

    Attributes:
        weights: sha256 of the model.
        optimizer, lora_rank, lora_alpha, lora_targets, schedule, steps, precision: the training's settings, as in the
            columns; `lora_targets` is None in old files.
        contexts: number of contexts searched; `sufficient`: those in which LoRA was sufficient.
        reasons: why it was not in the others, counted by reason.
        bulk: statistics of the model's readout overlaps (`instruments.bulk`), dimensionless, by name.
        keys: the keys in the law file, in their order, because files must be written back unchanged.
    """

    model: str
    weights: str
    optimizer: str
    lora_rank: int
    lora_alpha: float
    lora_targets: str | None
    schedule: str
    steps: int
    precision: str
    contexts: int
    sufficient: int
    reasons: Mapping[str, int]
    bulk: Mapping[str, float]
    keys: tuple[str, ...] = KEYS

    @property
    def training(self) -> tuple[Any, ...]:
        """The settings that must be equal for counts to be comparable."""
        return tuple(getattr(self, name) for name in SETTINGS)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> SufficiencyCount:
        """Decode an entry of `lora` of a law file."""
        own = {key: value[key] for key in KEYS if key != "lora_targets"}
        return cls(**own, lora_targets=value.get("lora_targets"), keys=tuple(value))

    def to_json(self) -> dict[str, Any]:
        """The entry of `lora` of a law file."""
        return {key: getattr(self, key) for key in self.keys}


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold on a statistic, with the predicted LoRA sufficiency below and above it. No statistic: one class."""

    statistic: str | None
    value: float
    below: bool
    above: bool

    def side(self, bulk: Mapping[str, float]) -> str | None:
        """`below` or `above`; None where there is one class."""
        if self.statistic is None:
            return None
        return "below" if bulk[self.statistic] < self.value else "above"

    def sufficient(self, bulk: Mapping[str, float]) -> bool:
        """Whether LoRA is predicted to be sufficient."""
        return self.below if self.side(bulk) in (None, "below") else self.above


@dataclass(frozen=True, slots=True)
class SufficiencySplit:
    """The result of the calibration: two classes of architectures, or one.

    Attributes:
        threshold: the threshold between the two classes; without a statistic for one class.
        margin: distance from the threshold to the nearest architecture, as a share of the range; None for one class.
        confusion: confusion table over contexts of architectures left out: whether LoRA is sufficient, and the
            prediction. Keys: `suffices, predicted to`, `fails, predicted to`, and both with `not to`, where they occur.
        wrong: contexts that the best two classes predict wrongly; `wrong_without`: those that the majority does.
        contexts: their total number; `architectures` likewise.
    """

    threshold: Threshold
    margin: float | None
    confusion: dict[str, int]
    wrong: int
    wrong_without: int
    contexts: int
    architectures: int

    @property
    def verdict(self) -> str:
        """The result in one sentence."""
        counts = f"{self.contexts} contexts, {self.architectures} architectures, each left out in turn"
        if self.threshold.statistic is None:
            return (
                f"The data don't show two classes: the best threshold on the readout's bulk is wrong {self.wrong} "
                f"times, the majority {self.wrong_without} times ({counts})."
            )
        return (
            f"Two classes: {self.threshold.statistic} below and above {self.threshold.value:.3g} (margin "
            f"{100 * self.margin if self.margin is not None else 0:.2g} % of the range); wrong {self.wrong} times, the "
            f"majority {self.wrong_without} times ({counts})."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SufficiencyEvidence:
    """The evidence for a prediction of LoRA sufficiency.

    Attributes:
        steps: T of the searches counted here; None where no search had the requested T and all are counted.
        sufficient_contexts: those of `contexts`, over all `architectures`, in which LoRA was sufficient; `reasons`
            counts why it was not in the others.
        classes: the split's verdict.
        confusion: the split's confusion table.
        bulk: the model's statistics, by name.
        outside_calibration: one sentence for each statistic outside the calibrated range.
    """

    steps: int | None
    sufficient_contexts: int
    contexts: int
    architectures: int
    reasons: dict[str, int]
    classes: str
    confusion: dict[str, int]
    bulk: dict[str, float]
    outside_calibration: list[str]

    def to_json(self) -> dict[str, Any]:
        """The object `evidence` in the JSON of `predict`."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class SufficiencyPrediction:
    """Predicted LoRA sufficiency of a model; `architecture_class`: its side of the threshold, None for one class."""

    architecture_class: str | None
    sufficient: bool
    evidence: SufficiencyEvidence


def predict_sufficiency(
    split: SufficiencySplit,
    counts: Sequence[SufficiencyCount],
    bulk: Mapping[str, float],
    steps: int | None = None,
) -> SufficiencyPrediction:
    """Predict LoRA sufficiency for a model, with the evidence.

    Args:
        split: the split, fitted to the counts.
        counts: the calibration.
        bulk: the model's statistics.
        steps: T of the training. Where searches of the class had that T, the prediction is their majority.
    """
    threshold = split.threshold
    side = threshold.side(bulk)
    same_class = [count for count in counts if threshold.side(count.bulk) == side]
    same_steps = [count for count in same_class if count.steps == steps]
    counted = same_steps or same_class
    outside = [
        f"{name} is {bulk[name]:.3g}; calibrated: {min(values):.3g} to {max(values):.3g}"
        for name in STATISTICS
        if not min(values := [count.bulk[name] for count in counts]) <= bulk[name] <= max(values)
    ]
    return SufficiencyPrediction(
        architecture_class=None if side is None else f"{threshold.statistic} {side} {threshold.value:.3g}",
        sufficient=_majority(same_steps) if same_steps else threshold.sufficient(bulk),
        evidence=SufficiencyEvidence(
            steps=steps if same_steps else None,
            sufficient_contexts=sum(count.sufficient for count in counted),
            contexts=sum(count.contexts for count in counted),
            architectures=len({count.model for count in counted}),
            reasons=_summed(count.reasons for count in counted),
            classes=split.verdict,
            confusion=split.confusion,
            bulk=dict(bulk),
            outside_calibration=outside,
        ),
    )


def _summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total)


def fit_split(counts: Sequence[SufficiencyCount]) -> SufficiencySplit:
    """Fit the split: two classes if they predict better than one; `counts` must cover at least one architecture."""
    models = sorted({count.model for count in counts})
    wrong = without = 0
    two: dict[str, int] = {}
    one: dict[str, int] = {}
    for model in models:
        rest = [count for count in counts if count.model != model]
        left_out = [count for count in counts if count.model == model]
        wrong += _add_confusion(two, _best(rest) or _one_class(rest), left_out)
        without += _add_confusion(one, _one_class(rest), left_out)
    best = _best(counts)
    accepted = best is not None and wrong <= (1 - GAIN) * without and wrong < without
    chosen = best if accepted and best is not None else _one_class(counts)
    return SufficiencySplit(
        threshold=chosen,
        margin=None if chosen.statistic is None else _margin(counts, chosen.statistic, chosen.value),
        confusion=two if accepted else one,
        wrong=wrong,
        wrong_without=without,
        contexts=sum(count.contexts for count in counts),
        architectures=len(models),
    )


def _best(counts: Sequence[SufficiencyCount]) -> Threshold | None:
    """The threshold with the fewest wrong contexts, halfway between two architectures; ties go to the widest gap."""
    candidates: list[tuple[int, float, Threshold]] = []
    for statistic in STATISTICS:
        values = {count.model: count.bulk[statistic] for count in counts}
        ordered = sorted(values.values())
        value_range = ordered[-1] - ordered[0] if ordered else 0.0
        for place, (low, high) in enumerate(itertools.pairwise(ordered), 1):
            if min(place, len(ordered) - place) < FEWEST or high <= low:
                continue
            middle = (low + high) / 2
            below = [count for count in counts if count.bulk[statistic] < middle]
            above = [count for count in counts if not count.bulk[statistic] < middle]
            threshold = Threshold(statistic, middle, _majority(below), _majority(above))
            candidates.append((_wrong(threshold, counts), -(high - low) / value_range, threshold))
    return min(candidates, key=lambda entry: entry[:2])[2] if candidates else None


def _one_class(counts: Sequence[SufficiencyCount]) -> Threshold:
    majority = _majority(counts)
    return Threshold(None, 0.0, majority, majority)


def _majority(counts: Sequence[SufficiencyCount]) -> bool:
    return 2 * sum(count.sufficient for count in counts) >= sum(count.contexts for count in counts)


def _wrong(threshold: Threshold, counts: Sequence[SufficiencyCount]) -> int:
    return _add_confusion({}, threshold, counts)


def _add_confusion(
    confusion: dict[str, int], threshold: Threshold, counts: Sequence[SufficiencyCount]
) -> int:
    """Add the counts' contexts to the confusion table; return how many are predicted wrongly."""
    wrong = 0
    for count in counts:
        predicted = threshold.sufficient(count.bulk)
        fails = count.contexts - count.sufficient
        for outcome, contexts in (("suffices", count.sufficient), ("fails", fails)):
            name = f"{outcome}, predicted {'to' if predicted else 'not to'}"
            confusion[name] = confusion.get(name, 0) + contexts
        wrong += fails if predicted else count.sufficient
    return wrong


def _margin(counts: Sequence[SufficiencyCount], statistic: str, threshold: float) -> float:
    values = [count.bulk[statistic] for count in counts]
    return min(abs(value - threshold) for value in values) / (max(values) - min(values))
