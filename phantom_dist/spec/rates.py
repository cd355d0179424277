"""The axis `learning_rates`: a list, a logarithmic range, or a search for the critical rate."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, BeforeValidator, Discriminator, Field, Tag, model_validator

from phantom_dist.core.errors import did_you_mean
from phantom_dist.spec.axis import Strict, as_tuple, unique, wrong

Rate: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False, description="finite and positive")]
RateList: TypeAlias = Annotated[tuple[Rate, ...], Field(min_length=1), AfterValidator(unique)]


class Critical(Strict):
    """Search for the rate at which the logit gap after the last step is zero."""

    tolerance: float = Field(
        default=0.01,
        gt=0,
        le=0.5,
        description="the search ends when two trials, one committed and one not, are this close (relative)",
    )
    start: Literal["auto", "law", "first_order"] = Field(
        default="auto",
        description="where the search begins; law: at the shipped law's prediction, whose probe costs a few gradients,"
        " on a training set eight of its steps;"
        " first_order: at the first-order estimate, which costs nothing more; auto: whichever should finish sooner",
    )
    multiples: Annotated[tuple[Rate, ...], BeforeValidator(as_tuple), AfterValidator(unique)] = Field(
        default=(),
        description="rates above the critical one to train as well, once it is found, as multiples of it: where"
        " relapses, jumps and divergence begin",
    )

    @model_validator(mode="after")
    def _multiples_lie_above(self) -> Critical:
        for index, multiple in enumerate(self.multiples):
            if multiple <= 1 + self.tolerance:
                raise wrong(
                    f"lies within the search's bracket; allowed: above 1 + tolerance, {1 + self.tolerance:g}",
                    ("multiples", index),
                    multiple,
                )
        return self


class LogRange(Strict):
    """`log: [low, high, count]`: `count` rates at equal ratios, both ends included."""

    log: Annotated[tuple[Rate, Rate, Annotated[int, Field(ge=2)]], BeforeValidator(as_tuple)] = Field(
        description="lowest rate, highest rate, count"
    )

    @model_validator(mode="after")
    def _low_below_high(self) -> LogRange:
        low, high, _ = self.log
        if low >= high:
            raise wrong(f"the lowest rate {low:g} should be below the highest, {high:g}", ("log",), self.log)
        return self

    @property
    def values(self) -> tuple[float, ...]:
        """The rates, ascending; both ends are exactly as written."""
        low, high, count = self.log
        span = math.log(high) - math.log(low)
        return (low, *(low * math.exp(span * (k / (count - 1))) for k in range(1, count - 1)), high)


class CriticalSearch(Strict):
    """`critical: {tolerance: 0.01, start: auto}`."""

    critical: Critical


def _form(value: Any) -> str:
    if isinstance(value, BaseModel):
        return "log" if isinstance(value, LogRange) else "critical"
    return next(iter(value)) if isinstance(value, dict) else "list"


def _known_form(value: Any) -> Any:
    """Read `critical` as `{critical: {}}` and a single rate as a list of one; refuse other forms."""
    if isinstance(value, BaseModel | list | tuple):
        return as_tuple(value)
    if value == "critical" or value == {"critical": None}:
        return {"critical": {}}
    if isinstance(value, int | float) and not isinstance(value, bool):
        return (value,)
    allowed = "a list of rates, {log: [low, high, count]} or {critical: {tolerance: 0.01}}"
    if isinstance(value, dict) and len(value) == 1:
        (name,) = value
        if name not in ("log", "critical"):
            raise ValueError(f"unknown form {name!r}.{did_you_mean(str(name), ('log', 'critical'))}")
        return value
    raise ValueError(f"should be {allowed}; got {value!r}")


RateAxis: TypeAlias = Annotated[
    Annotated[RateList, Tag("list")]
    | Annotated[LogRange, Tag("log")]
    | Annotated[CriticalSearch, Tag("critical")],
    Discriminator(_form),
    BeforeValidator(
        _known_form,
        json_schema_input_type=RateList | Rate | LogRange | CriticalSearch | Literal["critical"],
    ),
]
