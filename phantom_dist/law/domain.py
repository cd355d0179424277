"""Where a class of the law was calibrated: settings, ranges of groups, sizes of models; and why a row is outside."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from phantom_dist.core.probe_result import PathProbe
from phantom_dist.core.trial import Problem
from phantom_dist.law.groups import BY_NAME, Row

GROUPS = ("gap", "length", "last", "earlier", "overlap", "odds")
"""Groups whose calibrated range bounds the domain, beside those that the closure uses."""

MARGIN = 0.1
"""A value may leave the calibrated range by this share of its width."""

LIKE = 3.0
"""A model may be this many times smaller or larger than the calibrated one that is nearest in parameters."""

ADAPTERS = "adapters"
"""A row's LoRA targets as written in the sweep: their resolved names differ between architectures."""

SETTINGS: dict[str, Any] = {
    "momentum": 0.0, "weight_decay": 0.0, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "schedule": "constant",
    "warmup_steps": 0, "precision": "float32",
}  # fmt: skip
LORA_SETTINGS: dict[str, Any] = {"lora_rank": None, "lora_alpha": None, ADAPTERS: "attention"}
"""What must be as it was calibrated, with what holds where a row doesn't say (or says None: β_1 under SGD)."""


UNMEASURED = ("precision", "beta1", "beta2", "epsilon", ADAPTERS)
"""No interval is given where these settings are not as calibrated. Under bfloat16 and SGD widened intervals hold
one critical rate in four; the others were not measured. For momentum, weight decay, schedules and LoRA's rank and scale
intervals were measured (`tests/benchmarks/out_of_domain.py`)."""


@dataclass(frozen=True, slots=True)
class Domain:
    """What was calibrated: each group's range, the settings that occurred, the models' numbers of parameters."""

    ranges: dict[str, tuple[float, float]]
    settings: list[dict[str, Any]]
    parameters: list[int]

    def outside(self, row: Row) -> list[str]:
        """Why a row is outside, a sentence for each reason; empty inside."""
        return [*self._foreign(row), *self._out_of_range(row), *_open(row)]

    def tells_width(self, row: Row) -> bool:
        """Whether anything measured says how wide an interval must be: the path closed, in settings that were tried."""
        own = {name: value for name, value in settings_of(row).items() if name in UNMEASURED}
        return not is_open(row) and any(own.items() <= known.items() for known in self.settings)

    def _foreign(self, row: Row) -> list[str]:
        own = settings_of(row)
        if own in self.settings:
            return []
        # Said of the nearest settings: those that differ in the fewest.
        other = min(self.settings, key=lambda known: sum(known.get(k) != v for k, v in own.items()))
        words = ", ".join(f"{key} {value}" for key, value in own.items() if value != other.get(key))
        return [f"not calibrated with {words}"]

    def _out_of_range(self, row: Row) -> list[str]:
        reasons = []
        for name, (low, high) in self.ranges.items():
            value, slack = BY_NAME[name].value(row), MARGIN * (high - low) + 1e-9
            if not low - slack <= value <= high + slack:
                meaning = BY_NAME[name].meaning
                reasons.append(f"{name} ({meaning}) is {value:.3g}, calibrated from {low:.3g} to {high:.3g}")
        size = row["parameters"]
        nearest = min(self.parameters, key=lambda known: abs(math.log(known / size)))
        if abs(math.log(nearest / size)) > math.log(LIKE):
            reasons.append(
                f"parameters: {size:.3g}; the nearest calibrated model has {nearest:.3g}, over {LIKE:g} times off"
            )
        return reasons


def domain_of(rows: Sequence[Row], groups: Sequence[str] = ()) -> Domain:
    """The domain of some calibration rows; `groups`: those that the closure uses."""
    names = dict.fromkeys((*GROUPS, *groups))
    values = {name: [BY_NAME[name].value(row) for row in rows] for name in names}
    settings: list[dict[str, Any]] = []
    for row in rows:
        if (own := settings_of(row)) not in settings:
            settings.append(own)
    return Domain(
        {name: (min(numbers), max(numbers)) for name, numbers in values.items()},
        settings,
        sorted({int(row["parameters"]) for row in rows}),
    )


def settings_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a row that must be as calibrated, what it doesn't say filled in."""
    known = SETTINGS | (LORA_SETTINGS if row["method"] == "lora" else {})
    return {name: default if row.get(name) is None else row[name] for name, default in known.items()}


def as_asked(row: Row, problem: Problem) -> dict[str, Any]:
    """A probe's row with its LoRA targets as written beside the resolved ones."""
    if problem.lora is None:
        return dict(row)
    targets = problem.lora.targets
    return {**row, ADAPTERS: targets if isinstance(targets, str) else ",".join(targets)}


def is_open(row: Row) -> bool:
    """Whether a row's path did not close, so that nobody knows how far off its rate is."""
    return bool(_open(row))


def _open(row: Row) -> list[str]:
    """Its last correction is cut, or its last walk leaves much of the gap (old law files don't say how much)."""
    last = BY_NAME["last"].value(row)
    left = abs((row.get("gap_end") or 0.0) / row["gap_0"])
    if PathProbe.is_cut(*row["path_rates"][-2:]):
        side = "above" if last > 0 else "below"
        return [
            f"the path did not close: its last correction of ln eta is cut at {last:+.2g}, so the critical rate "
            f"probably lies {side} the prediction"
        ]
    if left > PathProbe.LEFT[row["method"]]:
        return [f"the path did not close: its last walk leaves {left:.2g} of the gap"]
    return []
