"""Schedules of the learning rate, named and computed as in transformers."""

from __future__ import annotations

import json
import math
from typing import Any, Literal, TypeAlias, assert_never, get_args

from pydantic import Field, model_validator

from phantom_dist.core.frozen import Frozen

ScheduleName: TypeAlias = Literal[
    "constant", "linear", "cosine", "cosine_with_min_lr", "inverse_sqrt", "warmup_stable_decay"
]
"""Named as transformers' `lr_scheduler_type`."""

SCHEDULE_NAMES: tuple[str, ...] = get_args(ScheduleName)

SCHEDULE_SETTINGS: dict[str, tuple[str, ...]] = {
    "cosine_with_min_lr": ("min_lr_rate",),
    "warmup_stable_decay": ("decay_steps", "min_lr_rate"),
}
"""The settings of each schedule beside warm-up, which all have."""

INVERSE_SQRT_TIMESCALE = 10_000
"""Steps over which `inverse_sqrt` decays without warm-up, as in transformers; with warm-up it is the warm-up's."""


class Schedule(Frozen):
    """The learning rate of each step as a multiple of the trial's learning rate."""

    LATER = ("warmup_from_zero", "min_lr_rate", "decay_steps")

    name: ScheduleName = "constant"
    warmup_steps: int = Field(
        default=0, ge=0, description="steps of linear warm-up before the schedule begins"
    )
    warmup_from_zero: bool = Field(
        default=False,
        description="warm-up as transformers has it: its first step has the rate 0, and it ends one step later",
    )
    min_lr_rate: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="lowest multiple; cosine_with_min_lr and warmup_stable_decay only",
    )
    decay_steps: int | None = Field(
        default=None,
        gt=0,
        description="last steps, with a cosine; required by warmup_stable_decay, and its own",
    )

    @model_validator(mode="after")
    def _own_settings(self) -> Schedule:
        own = SCHEDULE_SETTINGS.get(self.name, ())
        for name in ("min_lr_rate", "decay_steps"):
            if name not in own and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{self.name} has no {name}")
        if "decay_steps" in own and self.decay_steps is None:
            raise ValueError(f"{self.name} needs decay_steps, the number of its last steps that decay")
        if self.warmup_from_zero and not self.warmup_steps:
            raise ValueError("warmup_from_zero needs warm-up steps")
        return self

    @property
    def text(self) -> str:
        """The name, and in parentheses the settings of later versions that are not the default; see `from_text`."""
        settings = self.model_dump(mode="json", exclude={"name", "warmup_steps"})
        if not settings:
            return self.name
        return f"{self.name}({', '.join(f'{key}={json.dumps(value)}' for key, value in settings.items())})"

    @classmethod
    def from_text(cls, text: str, warmup_steps: int) -> Schedule:
        """The schedule that `text` names.

        Raises:
            ValueError: it names none.
        """
        name, _, settings = text.removesuffix(")").partition("(")
        pairs = (part.split("=", 1) for part in settings.split(", ")) if settings else ()
        values: dict[str, Any] = {key: json.loads(value) for key, value in pairs}
        schedule = cls.model_validate({"name": name, "warmup_steps": warmup_steps} | values)
        if schedule.text != text:
            raise ValueError(f"{text!r} is no schedule; {schedule.text!r} would be")
        return schedule

    @property
    def fewest_steps(self) -> int:
        """The smallest T that it can have: every phase has its steps, and the schedule at least one after warm-up."""
        return self.warmup_steps + (self.decay_steps or 1)

    def factors(self, steps: int) -> tuple[float, ...]:
        """eta_s / eta for the optimizer steps s = 1..T, dimensionless, each in [0, 1].

        Warm-up of W steps: s / W for s <= W; from zero, as in transformers, (s - 1) / W. After it, with r = s - W - 1
        and R = T - W:

        - linear 1 - r / R; cosine (1 + cos(pi r / R)) / 2; cosine_with_min_lr the same, shrunk to [m, 1];
        - inverse_sqrt 1 / sqrt(1 + r / W), without warm-up with W = 10 000;
        - warmup_stable_decay 1, and for the last D steps the cosine over these, shrunk to [m, 1] as its warm-up is.

        The formulas are those of transformers (`optimization.py`), for whose step numbers s - 1 they agree. Unless the
        warm-up starts from zero every step changes the weights.

        Raises:
            ValueError: warm-up and decay leave no step.
        """
        if steps < self.fewest_steps:
            raise ValueError(
                f"{self.text} with {self.warmup_steps} warm-up steps needs {self.fewest_steps} steps"
            )
        first = 0 if self.warmup_from_zero else 1
        warmup = [(s + first) / self.warmup_steps for s in range(self.warmup_steps)]
        if self.name == "warmup_stable_decay":
            warmup = [self._shrunk(factor) for factor in warmup]
        rest = steps - self.warmup_steps
        return (*warmup, *(self._after_warmup(r, rest) for r in range(rest)))

    def _after_warmup(self, r: int, rest: int) -> float:
        match self.name:
            case "constant":
                return 1.0
            case "linear":
                return 1.0 - r / rest
            case "cosine" | "cosine_with_min_lr":
                return self._shrunk((1.0 + math.cos(math.pi * r / rest)) / 2.0)
            case "inverse_sqrt":
                return 1.0 / math.sqrt(1.0 + r / (self.warmup_steps or INVERSE_SQRT_TIMESCALE))
            case "warmup_stable_decay":
                assert self.decay_steps is not None
                into = max(0, r - rest + self.decay_steps)
                return self._shrunk((1.0 + math.cos(math.pi * into / self.decay_steps)) / 2.0)
            case _:
                assert_never(self.name)

    def _shrunk(self, factor: float) -> float:
        return factor * (1.0 - self.min_lr_rate) + self.min_lr_rate
