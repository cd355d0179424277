"""The axis `schedule`: transformers' schedules by name, each with warm-up, `{cosine: {warmup_ratio: 0.1}}`."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self, TypeAlias, get_args

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from phantom_dist.core.schedule import Schedule, ScheduleName
from phantom_dist.spec.axis import Entry, Strict, as_axis, named, unique_if_crossed

NAMES: tuple[ScheduleName, ...] = get_args(ScheduleName)


class Warmup(Strict):
    """Settings of every schedule."""

    warmup_steps: int = Field(default=0, ge=0, description="steps of linear warm-up; fewer than `steps`")
    warmup_ratio: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="the same as a share of `steps`, rounded up as in transformers",
    )
    warmup_from_zero: bool | None = Field(
        default=None,
        description="the first step has the rate 0, as in transformers; else the first has one step's share",
    )

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.warmup_steps and self.warmup_ratio is not None:
            raise ValueError("takes warmup_steps or warmup_ratio, not both")
        if self.warmup_from_zero and not self.warmup_steps and self.warmup_ratio is None:
            raise ValueError("warmup_from_zero needs warmup_steps or warmup_ratio")
        return self

    def core(self, name: ScheduleName, steps: int) -> Schedule:
        """The schedule as trials store it, for a number of steps."""
        settings: dict[str, Any] = self.model_dump(exclude_none=True, exclude={"warmup_ratio"})
        if self.warmup_ratio is not None:
            settings["warmup_steps"] = math.ceil(steps * self.warmup_ratio)
        return Schedule(name=name, **settings)


class MinLr(Warmup):
    """Settings of `cosine_with_min_lr`."""

    min_lr_rate: float = Field(
        gt=0, lt=1, description="where the cosine ends, as a share of the learning rate"
    )


class StableDecay(Warmup):
    """Settings of `warmup_stable_decay`."""

    decay_steps: int = Field(gt=0, description="the last steps, over which the rate falls as a cosine")
    min_lr_rate: float = Field(default=0.0, ge=0, lt=1, description="where it ends, and where warm-up starts")


class ScheduleEntry(Entry):
    """A schedule's name, alone or with its settings."""

    constant: Warmup | None = None
    linear: Warmup | None = None
    cosine: Warmup | None = None
    cosine_with_min_lr: MinLr | None = None
    inverse_sqrt: Warmup | None = None
    warmup_stable_decay: StableDecay | None = None

    @property
    def settings(self) -> tuple[ScheduleName, Warmup]:
        """The name and its settings."""
        return next((name, getattr(self, name)) for name in NAMES if getattr(self, name) is not None)

    def core(self, steps: int) -> Schedule:
        """The schedule as trials store it, for a number of steps."""
        name, settings = self.settings
        return settings.core(name, steps)


ScheduleAxis: TypeAlias = Annotated[
    tuple[
        Annotated[
            ScheduleEntry,
            BeforeValidator(
                named("schedule", *NAMES),
                json_schema_input_type=Literal["constant", "linear", "cosine", "inverse_sqrt"]
                | ScheduleEntry,
            ),
        ],
        ...,
    ],
    Field(min_length=1),
    BeforeValidator(as_axis),
    AfterValidator(unique_if_crossed),
]
