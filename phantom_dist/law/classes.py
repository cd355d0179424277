"""The second quantity: does a statistic of the readout's bulk sort architectures by whether LoRA suffices?

LoRA suffices in a context if some learning rate below its own divergence commits within T steps, and the trial that
does so is no structural failure (its drag hasn't fallen by more than the threshold). A class is a side of a threshold
on one statistic. Two classes are believed only if, with statistic and threshold chosen without it, they tell what holds
of an architecture left out better than the larger count alone does. That there are two is the paper's claim; this test
of it is ours.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]
"""`model`, `bulk` (statistics by name), `contexts` (how many), `sufficient` (in how many), `reasons` (why not)."""

STATISTICS = ("mean", "rms", "rank", "centred_rms", "centred_rank")
FEWEST = 2
"""Architectures on each side: a class of one vanishes when that one is left out."""

GAIN = 0.05
"""By how much the two classes must lower the number of wrong predictions."""


@dataclass(frozen=True, slots=True)
class Split:
    """A threshold on a statistic, and whether LoRA suffices below and above it. No statistic: one class."""

    statistic: str | None
    threshold: float
    below: bool
    above: bool

    def side(self, bulk: Mapping[str, float]) -> str | None:
        """`below` or `above`; None where there is one class."""
        if self.statistic is None:
            return None
        return "below" if bulk[self.statistic] < self.threshold else "above"

    def suffices(self, bulk: Mapping[str, float]) -> bool:
        """Whether LoRA is predicted to suffice."""
        return self.below if self.side(bulk) in (None, "below") else self.above


@dataclass(frozen=True, slots=True)
class Classes:
    """What the calibration says.

    Attributes:
        split: the two classes, or one.
        margin: distance from the threshold to the nearest architecture over the whole range; None for one class.
        confusion: architectures left out: contexts in which LoRA suffices or not, and what was predicted;
            keys `suffices, predicted to`, `fails, predicted to` and the same with `not to`, where they occur.
        wrong: of these, predicted wrongly by the best two classes; `wrong_without`: by the larger count alone.
        contexts: in all; `architectures` likewise.
    """

    split: Split
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
        if self.split.statistic is None:
            return (
                f"The data show no two classes: the best threshold on the readout's bulk is wrong {self.wrong} times, "
                f"the larger count alone {self.wrong_without} times ({counts})."
            )
        return (
            f"Two classes: {self.split.statistic} below and above {self.split.threshold:.3g} (margin "
            f"{100 * self.margin if self.margin is not None else 0:.2g} % of the range); wrong {self.wrong} times, the "
            f"larger count alone {self.wrong_without} times ({counts})."
        )


def says(
    classes: Classes, rows: Sequence[Row], bulk: Mapping[str, float], steps: int | None = None
) -> dict[str, Any]:
    """What the calibration says of a model: its class, whether LoRA suffices, and the evidence.

    Args:
        classes: fitted to the rows.
        rows: the calibration.
        bulk: the model's statistics.
        steps: T that is asked about; where the class was searched with that T, these searches alone answer.
    """
    split = classes.split
    side = split.side(bulk)
    same = [row for row in rows if split.side(row["bulk"]) == side]
    asked = [row for row in same if row.get("steps") == steps]
    counted = asked or same
    outside = [
        f"{name} is {bulk[name]:.3g}, calibrated from {min(values):.3g} to {max(values):.3g}"
        for name in STATISTICS
        if not min(values := [row["bulk"][name] for row in rows]) <= bulk[name] <= max(values)
    ]
    return {
        "class": None if side is None else f"{split.statistic} {side} {split.threshold:.3g}",
        "sufficient": _majority(asked) if asked else split.suffices(bulk),
        "evidence": {
            "steps": steps if asked else None,
            "sufficient_contexts": sum(row["sufficient"] for row in counted),
            "contexts": sum(row["contexts"] for row in counted),
            "architectures": len({row["model"] for row in counted}),
            "reasons": _summed(row["reasons"] for row in counted),
            "classes": classes.verdict,
            "confusion": classes.confusion,
            "bulk": dict(bulk),
            "outside_calibration": outside,
        },
    }


def _summed(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total)


def fit_classes(rows: Sequence[Row]) -> Classes:
    """Two classes, where they predict better than one; `rows` of at least one architecture."""
    models = sorted({row["model"] for row in rows})
    wrong = without = 0
    two: dict[str, int] = {}
    one: dict[str, int] = {}
    for model in models:
        rest = [row for row in rows if row["model"] != model]
        out = [row for row in rows if row["model"] == model]
        best = _best(rest) or _single(rest)
        wrong += _count(two, best, out)
        without += _count(one, _single(rest), out)
    split = _best(rows)
    believed = split is not None and wrong <= (1 - GAIN) * without and wrong < without
    confusion = two if believed else one
    chosen = split if believed and split is not None else _single(rows)
    return Classes(
        split=chosen,
        margin=_margin(rows, chosen) if believed else None,
        confusion=confusion,
        wrong=wrong,
        wrong_without=without,
        contexts=sum(row["contexts"] for row in rows),
        architectures=len(models),
    )


def _best(rows: Sequence[Row]) -> Split | None:
    """The threshold with the fewest wrong contexts, in the middle of its gap; of equal ones the widest gap."""
    found: list[tuple[int, float, Split]] = []
    for statistic in STATISTICS:
        values = {row["model"]: row["bulk"][statistic] for row in rows}
        ordered = sorted(values.values())
        reach = ordered[-1] - ordered[0] if ordered else 0.0
        for place, (low, high) in enumerate(itertools.pairwise(ordered), 1):
            if min(place, len(ordered) - place) < FEWEST or high <= low:
                continue
            middle = (low + high) / 2
            sides = [
                [row for row in rows if (row["bulk"][statistic] < middle) is side] for side in (True, False)
            ]
            split = Split(statistic, middle, *(_majority(side) for side in sides))
            found.append((_wrong(split, rows), -(high - low) / reach, split))
    return min(found, key=lambda entry: entry[:2])[2] if found else None


def _single(rows: Sequence[Row]) -> Split:
    says = _majority(rows)
    return Split(None, 0.0, says, says)


def _majority(rows: Sequence[Row]) -> bool:
    return bool(2 * sum(row["sufficient"] for row in rows) >= sum(row["contexts"] for row in rows))


def _wrong(split: Split, rows: Sequence[Row]) -> int:
    return _count({}, split, rows)


def _count(confusion: dict[str, int], split: Split, rows: Sequence[Row]) -> int:
    """Add the rows' contexts to the confusion table; how many are predicted wrongly."""
    wrong = 0
    for row in rows:
        says = split.suffices(row["bulk"])
        fails = row["contexts"] - row["sufficient"]
        for holds, count in (("suffices", row["sufficient"]), ("fails", fails)):
            name = f"{holds}, predicted {'to' if says else 'not to'}"
            confusion[name] = confusion.get(name, 0) + count
        wrong += fails if says else row["sufficient"]
    return wrong


def _margin(rows: Sequence[Row], split: Split) -> float:
    values = [row["bulk"][split.statistic] for row in rows]
    return float(min(abs(value - split.threshold) for value in values) / (max(values) - min(values)))
