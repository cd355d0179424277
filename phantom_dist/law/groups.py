"""The dimensionless groups that the law may use, each with its meaning; a calibration row in, numbers out.

Every group is a ratio, a logarithm of one, or a difference of logits: none changes when the loss is measured in another
unit and the learning rate makes up for it (κ → c κ, η → η / c). Our reconstruction, not the paper's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Group:
    """One group: its name, what it means, and how it follows from a row."""

    name: str
    meaning: str
    value: Callable[[Row], float]


def path_rate(row: Row) -> float:
    """η that the path probe ends with; the unfitted core of the law."""
    return float(row["path_rates"][-1])


def first_order_rate(row: Row) -> float:
    """η at Π = η T κ / |g_0| = 1."""
    return float(abs(row["gap_0"]) / (row["effective_steps"] * row["kappa"]))


def _last(row: Row) -> float:
    return math.log(row["path_rates"][-1] / row["path_rates"][-2])


def _earlier(row: Row) -> float:
    return math.log(row["path_rates"][-2] / row["path_rates"][-3])


def _bend(row: Row) -> float:
    return math.log(path_rate(row) / first_order_rate(row))


def _length(row: Row) -> float:
    return math.log(float(row["steps"]) / 8)


def _gap(row: Row) -> float:
    return abs(float(row["gap_0"])) / 5


GROUPS: tuple[Group, ...] = (
    Group("length", "ln(T / 8)", _length),
    Group("last", "ln of the path's last correction of η", _last),
    Group("last_squared", "its square", lambda row: _last(row) ** 2),
    Group("earlier", "ln of the correction before", _earlier),
    Group("gap", "|g_0| / 5 logits", _gap),
    Group("bend", "ln Π of the path's answer: how far κ changes along the way", _bend),
    Group("bend_squared", "its square", lambda row: _bend(row) ** 2),
    Group("overlap", "S_tc², squared overlap of target and competitor", lambda row: row["overlap_0"] ** 2),
    Group("odds", "the target's log-odds at the start / 10", lambda row: row["log_odds_0"] / 10),
    Group("gap_length", "gap x length", lambda row: _gap(row) * _length(row)),
    Group("last_length", "last x length", lambda row: _last(row) * _length(row)),
)
"""All candidates; which of them enter is searched for."""

BY_NAME = {group.name: group for group in GROUPS}


def difficulty(row: Row) -> list[float]:
    """What the size of an error goes with: 1, the path's corrections, the gap and the length."""
    return [
        1.0,
        math.log(abs(_last(row)) + 0.003),
        math.log(abs(_earlier(row)) + 0.01),
        _gap(row),
        _length(row),
        _length(row) ** 2,
    ]
