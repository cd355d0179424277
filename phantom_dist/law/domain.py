"""The calibrated domain of a training class (settings, ranges of groups, model sizes), and why a problem is outside."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from phantom_dist.core.probe_result import PathProbe
from phantom_dist.core.schedule import Schedule
from phantom_dist.law.calibration_row import CalibrationRow
from phantom_dist.law.groups import BY_NAME, SETTINGS
from phantom_dist.law.law_input import LawInput

GROUPS = (
    "gap",
    "length",
    "last",
    "earlier",
    "overlap",
    "odds",
    "share",
    "reach",
    *(group.name for group in SETTINGS),
)
"""Groups whose calibrated range bounds the domain, in addition to those that the closure uses."""

MARGIN = 0.1
"""A value may exceed the calibrated range by this share of the range's width."""

MAX_SIZE_RATIO = 3.0
"""Largest allowed ratio of a model's parameters to those of the nearest calibrated model, either way."""

UNMEASURED = ("clipping", "beta1", "beta2", "epsilon")
"""Where these leave the calibrated range, and where a choice was not calibrated, the law gives no interval. Under
bfloat16 and SGD the widened intervals contain only one critical rate in four; for the others no coverage was measured.
For momentum, weight decay, LoRA's rank and scale, and `MEASURED_SCHEDULES` it was
(`tests/benchmarks/out_of_domain.py`)."""

MEASURED_SCHEDULES = ("constant", "linear", "cosine")


def _schedule(probed: LawInput) -> str:
    text, warmup_steps = probed.settings.schedule, probed.settings.warmup_steps
    return Schedule.from_text(text, warmup_steps).name


def _decay(probed: LawInput) -> str:
    # All adapters decay, whatever the setting says (`Problem.decays_apart`).
    return "all" if probed.method == "lora" else probed.settings.decay or "all"


def _adapters(probed: LawInput) -> str:
    adapters = probed.settings.adapters
    return "none" if adapters is None else adapters.targets


CHOICES: dict[str, Callable[[LawInput], str]] = {
    "schedule": _schedule,
    "precision": lambda probed: probed.settings.precision,
    "decay": _decay,
    "adapters": _adapters,
    "words": lambda probed: f"of {probed.pair_kind} tokens",
}
"""What is no number: settings, and whether the words are single tokens. Warm-up is one, whether its first step has the
rate 0 or not."""


@dataclass(frozen=True, slots=True)
class Domain:
    """The calibrated range of each group, the calibrated `CHOICES`, and the calibrated models' parameter counts.

    Settings may be combined in other ways than they were: each has to be in its own range.
    """

    ranges: Mapping[str, tuple[float, float]]
    choices: Mapping[str, tuple[str, ...]]
    parameters: tuple[int, ...]

    def outside(self, probed: LawInput) -> list[str]:
        """Why a problem is outside the domain, one sentence for each reason; empty inside."""
        return [
            *(
                f"not calibrated with {name} {CHOICES[name](probed)}, calibrated: {', '.join(known)}"
                for name, known in self.choices.items()
                if CHOICES[name](probed) not in known
            ),
            *(self._out_of_range(probed, name) for name in self.ranges if not self._in_range(probed, name)),
            *self._of_another_size(probed),
            *_open_reasons(probed),
        ]

    def width_is_measured(self, probed: LawInput) -> bool:
        """Whether the necessary width of an interval was measured: the path closed, and the settings were covered."""
        return (
            not is_open(probed)
            and all(self._in_range(probed, name) for name in UNMEASURED)
            and all(
                CHOICES[name](probed) in (*known, *(MEASURED_SCHEDULES if name == "schedule" else ()))
                for name, known in self.choices.items()
            )
        )

    def _in_range(self, probed: LawInput, name: str) -> bool:
        low, high = self.ranges[name]
        slack = MARGIN * (high - low) + 1e-9
        return low - slack <= BY_NAME[name].value(probed) <= high + slack

    def _out_of_range(self, probed: LawInput, name: str) -> str:
        (low, high), group = self.ranges[name], BY_NAME[name]
        return f"{name} ({group.meaning}) is {group.value(probed):.3g}, calibrated: {low:.3g} to {high:.3g}"

    def _of_another_size(self, probed: LawInput) -> list[str]:
        size = probed.parameters
        nearest = min(self.parameters, key=lambda known: abs(math.log(known / size)))
        if abs(math.log(nearest / size)) <= math.log(MAX_SIZE_RATIO):
            return []
        return [
            f"parameters: {size:.3g}, the nearest calibrated model has {nearest:.3g}, "
            f"over {MAX_SIZE_RATIO:g} times off"
        ]


def domain_of(rows: Sequence[CalibrationRow], groups: Sequence[str] = ()) -> Domain:
    """The domain that the calibration rows cover; `groups`: those that the closure uses."""
    inputs = [row.law_input for row in rows]
    values = {name: list(map(BY_NAME[name].value, inputs)) for name in dict.fromkeys((*GROUPS, *groups))}
    return Domain(
        {name: (min(numbers), max(numbers)) for name, numbers in values.items()},
        {name: tuple(sorted(set(map(of, inputs)))) for name, of in CHOICES.items()},
        tuple(sorted({each.parameters for each in inputs})),
    )


def is_open(probed: LawInput) -> bool:
    """Whether the path did not close; then the error of its rate is unknown."""
    return bool(_open_reasons(probed))


def _open_reasons(probed: LawInput) -> list[str]:
    """Why the path did not close: its last correction was clipped, or its last walk leaves much of the gap open.

    Old law files don't store how much of the gap is left.
    """
    if probed.on_set is not None:
        return []
    left = abs((probed.gap_end or 0.0) / probed.gap_0)
    why = PathProbe.why_open(probed.path_rates, left, probed.training_class)
    return [] if why is None else [f"the path did not close: {why}"]
