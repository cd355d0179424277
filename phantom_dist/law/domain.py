"""The calibrated domain of a training class (settings, ranges of groups, model sizes), and why a problem is outside."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from phantom_dist.core.probe_result import PathProbe
from phantom_dist.law.calibration_row import CalibrationRow
from phantom_dist.law.groups import BY_NAME
from phantom_dist.law.law_input import LawInput, TrainingSettings

GROUPS = ("gap", "length", "last", "earlier", "overlap", "odds")
"""Groups whose calibrated range bounds the domain, in addition to those that the closure uses."""

MARGIN = 0.1
"""A value may exceed the calibrated range by this share of the range's width."""

MAX_SIZE_RATIO = 3.0
"""Largest allowed ratio of a model's parameters to those of the nearest calibrated model, either way."""

UNMEASURED = (
    "precision",
    "beta1",
    "beta2",
    "epsilon",
    "adapters",
    "gradient_clipping",
    "decay",
    "lora_rslora",
)
"""Where these settings differ from the calibrated ones, the law gives no interval. Under bfloat16 and SGD the widened
intervals contain only one critical rate in four; for the others no coverage was measured. For momentum, weight decay,
LoRA's rank and scale and `MEASURED_SCHEDULES` it was (`tests/benchmarks/out_of_domain.py`)."""

MEASURED_SCHEDULES = ("constant", "linear", "cosine")


@dataclass(frozen=True, slots=True)
class Domain:
    """The calibrated range of each group, the calibrated settings, and the calibrated models' parameter counts."""

    ranges: dict[str, tuple[float, float]]
    settings: tuple[TrainingSettings, ...]
    parameters: tuple[int, ...]

    def outside(self, probed: LawInput) -> list[str]:
        """Why a problem is outside the domain, one sentence for each reason; empty inside."""
        return [*self._uncalibrated_settings(probed), *self._out_of_range(probed), *_open_reasons(probed)]

    def width_is_measured(self, probed: LawInput) -> bool:
        """Whether the necessary width of an interval was measured: the path closed, and the settings were covered."""
        own = _unmeasured(probed.settings)
        return not is_open(probed) and any(own == _unmeasured(known) for known in self.settings)

    def _uncalibrated_settings(self, probed: LawInput) -> list[str]:
        if probed.settings in self.settings:
            return []
        own = probed.settings.columns()
        # The message compares with the nearest settings: those with the fewest differences.
        others = [known.columns() for known in self.settings]
        other = min(others, key=lambda known: sum(known.get(k) != v for k, v in own.items()))
        words = ", ".join(f"{key} {value}" for key, value in own.items() if value != other.get(key))
        return [f"not calibrated with {words}"]

    def _out_of_range(self, probed: LawInput) -> list[str]:
        reasons = []
        for name, (low, high) in self.ranges.items():
            value, slack = BY_NAME[name].value(probed), MARGIN * (high - low) + 1e-9
            if not low - slack <= value <= high + slack:
                meaning = BY_NAME[name].meaning
                reasons.append(f"{name} ({meaning}) is {value:.3g}; calibrated: {low:.3g} to {high:.3g}")
        size = probed.parameters
        nearest = min(self.parameters, key=lambda known: abs(math.log(known / size)))
        if abs(math.log(nearest / size)) > math.log(MAX_SIZE_RATIO):
            reasons.append(
                f"parameters: {size:.3g}; the nearest calibrated model has {nearest:.3g}, "
                f"over {MAX_SIZE_RATIO:g} times off"
            )
        return reasons


def domain_of(rows: Sequence[CalibrationRow], groups: Sequence[str] = ()) -> Domain:
    """The domain that the calibration rows cover; `groups`: those that the closure uses."""
    names = dict.fromkeys((*GROUPS, *groups))
    values = {name: [BY_NAME[name].value(row.law_input) for row in rows] for name in names}
    return Domain(
        {name: (min(numbers), max(numbers)) for name, numbers in values.items()},
        tuple(dict.fromkeys(row.law_input.settings for row in rows)),
        tuple(sorted({row.law_input.parameters for row in rows})),
    )


def is_open(probed: LawInput) -> bool:
    """Whether the path did not close; then the error of its rate is unknown."""
    return bool(_open_reasons(probed))


def _unmeasured(settings: TrainingSettings) -> dict[str, object]:
    columns = settings.columns()
    schedule = "measured" if settings.schedule in MEASURED_SCHEDULES else settings.schedule
    return {name: columns.get(name) for name in UNMEASURED} | {"schedule": schedule}


def _open_reasons(probed: LawInput) -> list[str]:
    """Why the path did not close: its last correction was clipped, or its last walk leaves much of the gap open.

    Old law files don't store how much of the gap is left.
    """
    last = BY_NAME["last"].value(probed)
    left = abs((probed.gap_end or 0.0) / probed.gap_0)
    if PathProbe.is_cut(*probed.path_rates[-2:]):
        side = "above" if last > 0 else "below"
        return [
            f"the path did not close: its last correction of ln eta was clipped at {last:+.2g}, so the critical rate "
            f"probably lies {side} the prediction"
        ]
    if left > PathProbe.LEFT[probed.method]:
        return [f"the path did not close: its last walk leaves {left:.2g} of the gap open"]
    return []
