"""The dimensionless groups that the law may use: functions from a probed problem to a number.

Every group is a ratio, the logarithm of a ratio, or a difference of logits. So none changes when the loss is measured
in another unit and the learning rate compensates for it (κ → c κ, η → η / c). Our reconstruction, not the paper's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from phantom_dist.law.law_input import LawInput

LEAST_SHARE = 1e-3
"""A word that the data hardly hold, or don't, is taken to have this share of them."""


@dataclass(frozen=True, slots=True)
class Group:
    """One group: its name, its meaning, and its value for a probed problem."""

    name: str
    meaning: str
    value: Callable[[LawInput], float]


def path_rate(probed: LawInput) -> float:
    """The path probe's last η: the unfitted core of the law."""
    return probed.path_rates[-1]


def first_order_rate(probed: LawInput) -> float:
    """η at Π = η T κ / |g_0| = 1; on a training set as the probe estimated it (`SetProbe.learning_rates`)."""
    if probed.on_set is not None:
        return probed.path_rates[0]
    return abs(probed.gap_0) / (probed.effective_steps * probed.kappa)


def _last(probed: LawInput) -> float:
    if len(probed.path_rates) < 2:  # on a training set; under LoRA it has two
        return 0.0
    return math.log(probed.path_rates[-1] / probed.path_rates[-2])


def _earlier(probed: LawInput) -> float:
    if len(probed.path_rates) < 3:
        return 0.0
    return math.log(probed.path_rates[-2] / probed.path_rates[-3])


def _bend(probed: LawInput) -> float:
    return math.log(path_rate(probed) / first_order_rate(probed))


def _length(probed: LawInput) -> float:
    return math.log(probed.steps / 8)


def _gap(probed: LawInput) -> float:
    return abs(probed.gap_0) / 5


def _left(probed: LawInput) -> float:
    return (probed.gap_end or 0.0) / probed.gap_0  # old law files don't store it


def _momentum(probed: LawInput) -> float:
    return math.log(1 / (1 - probed.settings.momentum))


def _decayed(probed: LawInput) -> float:
    return probed.settings.weight_decay * path_rate(probed) * probed.effective_steps


def _clipping(probed: LawInput) -> float:
    largest = probed.settings.gradient_clipping
    return 0.0 if largest is None else 1 / largest


def _rank(probed: LawInput) -> float:
    adapters = probed.settings.adapters
    return 0.0 if adapters is None or adapters.rank is None else math.log(adapters.rank / 8)


def _scale(probed: LawInput) -> float:
    adapters = probed.settings.adapters
    return 0.0 if adapters is None or adapters.scale is None else math.log(adapters.scale / 2)


def _mlp(probed: LawInput) -> float:
    adapters = probed.settings.adapters
    return float(adapters is not None and adapters.targets in ("mlp", "all-linear"))


def _dropout(probed: LawInput) -> float:
    adapters = probed.settings.adapters
    return 0.0 if adapters is None else adapters.dropout


def _batch(probed: LawInput) -> float:
    return 0.0 if probed.on_set is None else math.log(probed.on_set.batch_size / 8)


def _epochs(probed: LawInput) -> float:
    return 0.0 if probed.on_set is None else math.log(probed.on_set.epochs)


def _share(probed: LawInput) -> float:
    return 0.0 if probed.on_set is None else math.log(max(probed.on_set.share, LEAST_SHARE))


def _reach(probed: LawInput) -> float:
    return 0.0 if probed.on_set is None else math.log1p(probed.on_set.reach)


def _widens(probed: LawInput) -> float:
    return float(probed.on_set is not None and probed.kappa <= 0)


def _mixed(probed: LawInput) -> float:
    return float(probed.settings.precision == "bfloat16-mixed")


SETTINGS: tuple[Group, ...] = (
    Group("momentum", "ln(1 / (1 - momentum))", _momentum),
    Group("decayed", "weight_decay x η x T, the share by which the weights shrink", _decayed),
    Group("clipping", "1 / gradient_clipping", _clipping),
    Group("warmup", "warmup_steps / T", lambda probed: probed.settings.warmup_steps / probed.steps),
    Group("beta1", "Adam's beta1", lambda probed: probed.settings.beta1),
    Group("beta2", "Adam's beta2", lambda probed: probed.settings.beta2),
    Group("epsilon", "ln of Adam's epsilon", lambda probed: math.log(probed.settings.epsilon)),
    Group("rank", "ln(lora_rank / 8)", _rank),
    Group(
        "scale", "ln of half of what LoRA multiplies by: lora_alpha / rank, with rslora / its root", _scale
    ),
    Group("dropout", "probability that LoRA drops an input", _dropout),
    Group("batch", "on a training set, ln(batch_size / 8)", _batch),
    Group("epochs", "on a training set, ln of how often an example is trained on", _epochs),
)
"""The settings that are numbers."""

GROUPS: tuple[Group, ...] = (
    Group("length", "ln(T / 8)", _length),
    Group("last", "ln of the path's last correction of η", _last),
    Group("last_squared", "its square", lambda probed: _last(probed) ** 2),
    Group("earlier", "ln of the correction before the last one", _earlier),
    Group("left", "share of the gap that the path's last walk leaves", _left),
    Group("gap", "|g_0| / 5 logits", _gap),
    Group("bend", "ln Π at the path's last η: how far κ changes along the path", _bend),
    Group("bend_squared", "its square", lambda probed: _bend(probed) ** 2),
    Group("overlap", "S_tc², squared overlap of target and competitor", lambda probed: probed.overlap_0**2),
    Group("odds", "the target's log-odds at the start / 10", lambda probed: probed.log_odds_0 / 10),
    Group("gap_length", "gap x length", lambda probed: _gap(probed) * _length(probed)),
    Group("last_length", "last x length", lambda probed: _last(probed) * _length(probed)),
    Group("mixed", "whether the precision is bfloat16-mixed", _mixed),
    Group("mlp", "whether LoRA adapts the feed-forward part, too", _mlp),
    Group("share", "on a training set, ln of the share of examples that hold the target", _share),
    Group(
        "reach",
        "on a training set, ln(1 + share of the loss that first order uses up until the word is learnt)",
        _reach,
    ),
    Group(
        "widens",
        "on a training set, whether the sample's first step widens the gap, so that other words' estimates stand in",
        _widens,
    ),
    *(group for group in SETTINGS if group.name not in ("beta1", "beta2", "epsilon")),
)
"""All candidates; the search in `closure` selects some of them."""

BY_NAME = {group.name: group for group in (*GROUPS, *SETTINGS)}


def difficulty(probed: LawInput) -> list[float]:
    """Features that predict the error's magnitude.

    1, the path's corrections, the gap, the length, what was left, on a training set ln(1 + examples of the sample
    that hold the target) and whether its first step widens the gap, and for a single prompt the logarithm of the
    model's size (on training sets intervals of real models cover without it).

    New ones come last: intervals of earlier versions have no weight for them.
    """
    return [
        1.0,
        math.log(abs(_last(probed)) + 0.003),
        math.log(abs(_earlier(probed)) + 0.01),
        _gap(probed),
        _length(probed),
        _length(probed) ** 2,
        math.log(abs(_left(probed)) + 0.002),
        0.0 if probed.on_set is None else math.log1p(probed.on_set.drawn),
        _widens(probed),
        math.log(probed.parameters / 1e6) if probed.on_set is None else 0.0,
    ]
