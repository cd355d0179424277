"""The second quantity: does a statistic of the readout's bulk sort architectures by whether LoRA suffices?

LoRA suffices in a context if some learning rate below its own divergence commits within T steps, and the trial that
does so is no structural failure (its drag hasn't fallen by more than the threshold). A threshold on one statistic
splits architectures into two classes. Two are believed only if, with statistic and threshold chosen without it, they
predict an architecture left out better than the larger count alone does. That there are two is the paper's claim;
this test of it is ours.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

STATISTICS = ("mean", "rms", "rank", "centred_rms", "centred_rank")
FEWEST = 2
"""Architectures on each side: a class of one vanishes when that one is left out."""

GAIN = 0.05
"""By how much the two classes must lower the number of wrong predictions."""

SETTINGS = ("optimizer", "lora_rank", "lora_alpha", "lora_targets", "schedule", "steps", "precision")
"""Contexts of one model with these in common are counted together."""

KEYS = ("model", "weights", *SETTINGS, "contexts", "sufficient", "reasons", "bulk")
"""Keys of a count in a law file, in the order of new ones."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SufficiencyCount:
    """In how many contexts LoRA sufficed, for one model and one training.

    Attributes:
        weights: sha256 of the model.
        optimizer, lora_rank, lora_alpha, lora_targets, schedule, steps, precision: the training, as columns;
            `lora_targets` is None in old files.
        contexts: how many were searched; `sufficient`: in how many LoRA sufficed.
        reasons: why it did not, counted.
        bulk: statistics of the model's readout overlaps (`instruments.bulk`), dimensionless, by name.
        keys: the keys in the law file, in their order: files are written back as they were read.
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
        """The settings that counts have in common to be comparable."""
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
    """A threshold on a statistic, and whether LoRA suffices below and above it. No statistic: one class."""

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
        """Whether LoRA is predicted to suffice."""
        return self.below if self.side(bulk) in (None, "below") else self.above


@dataclass(frozen=True, slots=True)
class SufficiencySplit:
    """What the calibration says of architectures: two classes of them, or one.

    Attributes:
        threshold: between the two classes, or none.
        margin: distance from the threshold to the nearest architecture over the whole range; None for one class.
        confusion: architectures left out: contexts in which LoRA suffices or not, and what was predicted;
            keys `suffices, predicted to`, `fails, predicted to` and the same with `not to`, where they occur.
        wrong: of these, predicted wrongly by the best two classes; `wrong_without`: by the larger count alone.
        contexts: in all; `architectures` likewise.
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
        """One sentence."""
        counts = f"{self.contexts} contexts, {self.architectures} architectures, each left out in turn"
        if self.threshold.statistic is None:
            return (
                f"The data show no two classes: the best threshold on the readout's bulk is wrong {self.wrong} times, "
                f"the larger count alone {self.wrong_without} times ({counts})."
            )
        return (
            f"Two classes: {self.threshold.statistic} below and above {self.threshold.value:.3g} (margin "
            f"{100 * self.margin if self.margin is not None else 0:.2g} % of the range); wrong {self.wrong} times, the "
            f"larger count alone {self.wrong_without} times ({counts})."
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class SufficiencyEvidence:
    """What a prediction of sufficiency rests on.

    Attributes:
        steps: T of the searches that were counted; None where no search had that T, and all were counted.
        sufficient_contexts: of `contexts` of `architectures`; `reasons` counts why the others were not.
        classes: the split's verdict.
        confusion: of the split.
        bulk: the model's own statistics, by name.
        outside_calibration: one sentence for each statistic beyond the calibrated range.
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
    """Whether LoRA suffices for a model; `architecture_class`: its side of the threshold, None for one class."""

    architecture_class: str | None
    sufficient: bool
    evidence: SufficiencyEvidence


def predict_sufficiency(
    split: SufficiencySplit,
    counts: Sequence[SufficiencyCount],
    bulk: Mapping[str, float],
    steps: int | None = None,
) -> SufficiencyPrediction:
    """Whether LoRA suffices for a model, and the evidence.

    Args:
        split: fitted to the counts.
        counts: the calibration.
        bulk: the model's statistics.
        steps: T of the training; where the class was searched with that T, these searches alone answer.
    """
    threshold = split.threshold
    side = threshold.side(bulk)
    same_class = [count for count in counts if threshold.side(count.bulk) == side]
    same_steps = [count for count in same_class if count.steps == steps]
    counted = same_steps or same_class
    outside = [
        f"{name} is {bulk[name]:.3g}, calibrated from {min(values):.3g} to {max(values):.3g}"
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
    """Two classes, where they predict better than one; `counts` of at least one architecture."""
    models = sorted({count.model for count in counts})
    wrong = without = 0
    two: dict[str, int] = {}
    one: dict[str, int] = {}
    for model in models:
        rest = [count for count in counts if count.model != model]
        left_out = [count for count in counts if count.model == model]
        wrong += _add_to(two, _best(rest) or _single(rest), left_out)
        without += _add_to(one, _single(rest), left_out)
    best = _best(counts)
    believed = best is not None and wrong <= (1 - GAIN) * without and wrong < without
    chosen = best if believed and best is not None else _single(counts)
    return SufficiencySplit(
        threshold=chosen,
        margin=None if chosen.statistic is None else _margin(counts, chosen.statistic, chosen.value),
        confusion=two if believed else one,
        wrong=wrong,
        wrong_without=without,
        contexts=sum(count.contexts for count in counts),
        architectures=len(models),
    )


def _best(counts: Sequence[SufficiencyCount]) -> Threshold | None:
    """The threshold with the fewest wrong contexts, in the middle of its gap; of equal ones the widest gap."""
    candidates: list[tuple[int, float, Threshold]] = []
    for statistic in STATISTICS:
        values = {count.model: count.bulk[statistic] for count in counts}
        ordered = sorted(values.values())
        reach = ordered[-1] - ordered[0] if ordered else 0.0
        for place, (low, high) in enumerate(itertools.pairwise(ordered), 1):
            if min(place, len(ordered) - place) < FEWEST or high <= low:
                continue
            middle = (low + high) / 2
            below = [count for count in counts if count.bulk[statistic] < middle]
            above = [count for count in counts if not count.bulk[statistic] < middle]
            threshold = Threshold(statistic, middle, _majority(below), _majority(above))
            candidates.append((_wrong(threshold, counts), -(high - low) / reach, threshold))
    return min(candidates, key=lambda entry: entry[:2])[2] if candidates else None


def _single(counts: Sequence[SufficiencyCount]) -> Threshold:
    majority = _majority(counts)
    return Threshold(None, 0.0, majority, majority)


def _majority(counts: Sequence[SufficiencyCount]) -> bool:
    return 2 * sum(count.sufficient for count in counts) >= sum(count.contexts for count in counts)


def _wrong(threshold: Threshold, counts: Sequence[SufficiencyCount]) -> int:
    return _add_to({}, threshold, counts)


def _add_to(confusion: dict[str, int], threshold: Threshold, counts: Sequence[SufficiencyCount]) -> int:
    """Add the counts' contexts to the confusion table; how many are predicted wrongly."""
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
