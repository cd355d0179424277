"""What a training on a data set will teach: the share of its words over the learning rate, and where defaults lie."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from phantom_dist.calibration.predicted_rate import PredictedRate, predicted_rate
from phantom_dist.core.result import table
from phantom_dist.core.trial import Problem
from phantom_dist.engines.set_probe import OnSet, probe_on_set
from phantom_dist.engines.training_sets import TrainingSets
from phantom_dist.law.law import Law
from phantom_dist.models.load import LoadedModel
from phantom_dist.spec import default_rates

if TYPE_CHECKING:
    from rich.table import Table

MOST_WORDS = 0.9
"""The share of the words that the window of a training begins with."""

Place: TypeAlias = Literal["below", "inside", "above"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Learnt:
    """The share of the words that a rate teaches: expected, and where all intervals end at their one or other side."""

    expected: float
    least: float
    most: float


NOTHING_PROBED = OnSet(rate_of_rise=None, examples=0, steps=0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictedTraining:
    """A training with all its words.

    Attributes:
        words: of all its contexts, held-out ones included.
        probed: what was measured beside them.
    """

    words: tuple[PredictedRate, ...]
    probed: OnSet

    def own(self, *, held_out: bool = False) -> list[PredictedRate]:
        """The words that it has to teach, in prompts that the data hold or in held-out ones; no refused pairs."""
        return [word for word in self.words if word.held_out == held_out and not word.refused]

    def rate(self, share: float = MOST_WORDS, *, held_out: bool = False) -> float | None:
        """The rate from which on this share of the words is learnt; None where fewer have a prediction."""
        return quantile([word.eta_c for word in self.own(held_out=held_out)], share)

    def interval(self, share: float = MOST_WORDS, *, held_out: bool = False) -> tuple[float, float] | None:
        """From the lower ends of the words' intervals, and from the upper ones; None where too few have one."""
        words = self.own(held_out=held_out)
        ends = [
            quantile([None if word.interval is None else word.interval[end] for word in words], share)
            for end in (0, 1)
        ]
        return None if ends[0] is None or ends[1] is None else (ends[0], ends[1])

    def learnt(self, rate: float, *, held_out: bool = False) -> Learnt:
        """What a rate teaches, below the one that diverges.

        A word without a prediction isn't expected to be learnt, but may be; so may one whose interval is withheld.
        """
        words = self.own(held_out=held_out)
        count = len(words) or 1

        def share(rates: Iterable[float]) -> float:
            return sum(each <= rate for each in rates) / count

        return Learnt(
            expected=share(math.inf if word.eta_c is None else word.eta_c for word in words),
            least=share(word.interval[1] if word.interval else math.inf for word in words),
            most=share(word.interval[0] if word.interval else 0.0 for word in words),
        )

    def place(self, rate: float) -> Place | None:
        """Where a rate lies: below the window, inside, or above; None where the window isn't known."""
        if self.probed.rate_of_rise is not None and rate >= self.probed.rate_of_rise:
            return "above"
        # Even if the words without a prediction were learnt at any rate.
        if rate < (quantile([word.eta_c or 0.0 for word in self.own()], MOST_WORDS) or 0.0):
            return "below"
        low = self.rate()
        if low is None:
            return None
        return "below" if rate < low else "inside"

    def defaults(self) -> list[tuple[float, str]]:
        """The tools' default rates for this method, ascending: rate, and names of the recipes."""
        return default_rates((self.words[0].method,))

    def to_json(self) -> dict[str, Any]:
        """The entry of `trainings` in the JSON of `predict`."""
        first = self.words[0]
        which = {
            name: value
            for name, value in first.problem_columns().items()
            if name not in ("context", "target", "competitor")
        }
        low, window = self.rate(), self.interval()
        return which | {
            "words": len(self.own()),
            "words_held_out": len(self.own(held_out=True)),
            "rate_90": low,
            "rate_90_interval": None if window is None else list(window),
            "rate_90_held_out": self.rate(held_out=True),
            "rate_of_rise": self.probed.rate_of_rise,
            "defaults": [
                {
                    "recipes": name,
                    "learning_rate": rate,
                    "place": self.place(rate),
                    "learnt": dataclasses.asdict(self.learnt(rate)),
                    "learnt_held_out": dataclasses.asdict(self.learnt(rate, held_out=True)),
                }
                for rate, name in self.defaults()
            ],
            "examples": self.probed.examples,
            "steps_used": self.probed.steps,
        }


def quantile(rates: Sequence[float | None], share: float) -> float | None:
    """The smallest rate at or above so large a share of all, unknown ones counting as infinite; None if it is one."""
    known = sorted(rate for rate in rates if rate is not None)
    place = math.ceil(share * len(rates) - 1e-9) - 1
    return known[place] if 0 <= place < len(known) else None


def predict_on_set(
    loaded: LoadedModel, problems: Sequence[Problem], sets: TrainingSets, law: Law
) -> PredictedTraining:
    """Predict every word of one training.

    Args:
        loaded: the model.
        problems: they differ in their contexts only.
        sets: where their data are.
        law: predicts.

    Raises:
        InputError, OutOfMemory: as `probe_on_set`.
    """
    probed, training = probe_on_set(loaded, problems, sets)
    return PredictedTraining(words=tuple(predicted_rate(each, law) for each in probed), probed=training)


def trainings_text(trainings: Iterable[PredictedTraining]) -> Iterable[str | Table]:
    """For each training its window, and a table of where the tools' defaults lie."""
    for training in trainings:
        first, low, window = training.words[0], training.rate(), training.interval()
        words = f"{MOST_WORDS:.0%} of {len(training.own())} words"
        name = f"{first.model}, {first.way}, {first.steps} steps"
        if low is None:
            yield f"{name}: too few words have a prediction to say from which rate on {words} are learnt"
        else:
            band = "" if window is None else f" ({window[0]:.2g} … {window[1]:.2g})"
            yield f"{name}: {words} are learnt from {low:.3g} on{band}"
        if training.probed.rate_of_rise is not None:
            yield f"A step of {training.probed.rate_of_rise:.2g} raises the loss: rates from there on may diverge."
        shown = table(
            "the tools' default rates",
            ("recipes",),
            ("rate", "lies", "words learnt", "at least … at most", "held-out prompts"),
        )
        for rate, recipes in training.defaults():
            own, held_out = training.learnt(rate), training.learnt(rate, held_out=True)
            shown.add_row(
                recipes,
                f"{rate:.2g}",
                training.place(rate) or "?",
                f"{own.expected:.0%}",
                f"{own.least:.0%} … {own.most:.0%}",
                f"{held_out.expected:.0%}" if training.own(held_out=True) else "",
            )
        yield shown
        yield (
            f"Seen: {training.probed.examples} examples. Cost: {training.probed.steps:.1f} of {first.steps} steps, "
            f"words included."
        )
