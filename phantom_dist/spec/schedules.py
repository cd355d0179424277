"""The axis `schedule`: `constant`, `linear` or `cosine`, each with warm-up, `{cosine: {warmup_steps: 2}}`."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field

from phantom_dist.core.trial import Schedule
from phantom_dist.spec.axis import Entry, Strict, as_axis, named, unique


class Warmup(Strict):
    """Settings of a schedule."""

    warmup_steps: int = Field(default=0, ge=0, description="steps of linear warm-up; fewer than `steps`")


class ScheduleEntry(Entry):
    """`constant`, `linear`, `cosine`, or one of them with warm-up."""

    constant: Warmup | None = None
    linear: Warmup | None = None
    cosine: Warmup | None = None

    def core(self) -> Schedule:
        """The schedule as trials store it."""
        ((name, settings),) = self.model_dump(exclude_none=True).items()
        return Schedule(name=name, **settings)


ScheduleAxis: TypeAlias = Annotated[
    tuple[
        Annotated[
            ScheduleEntry,
            BeforeValidator(
                named("schedule", "constant", "linear", "cosine"),
                json_schema_input_type=Literal["constant", "linear", "cosine"] | ScheduleEntry,
            ),
        ],
        ...,
    ],
    Field(min_length=1),
    BeforeValidator(as_axis),
    AfterValidator(unique),
]
