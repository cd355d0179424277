"""What all axes of a sweep share: strict settings, single values for lists, entries that name a thing.

An entry names one thing and may carry its settings: `sgd`, `{sgd: {momentum: 0.9}}`, `{lora: {rank: 8}}`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationInfo, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError, ValidationError

from phantom_dist.core.errors import did_you_mean

Item = TypeVar("Item")


class Strict(BaseModel):
    """Settings are frozen and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Entry(Strict):
    """Exactly one of the fields is set; the JSON Schema says so too."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(value is not None for _, value in self) != 1:
            raise ValueError(f"needs exactly one of {', '.join(type(self).model_fields)}")
        return self


def wrong(message: str, loc: tuple[str | int, ...], value: object) -> ValidationError:
    """A validation error at a location below the validator's own."""
    detail = InitErrorDetails(
        type=PydanticCustomError("stated", "{text}", {"text": message}), loc=loc, input=value
    )
    return ValidationError.from_exception_data("sweep", [detail])


def as_tuple(value: Any) -> Any:
    """A list as a tuple: after a custom validator, pydantic's strict mode would refuse a list."""
    return tuple(value) if isinstance(value, list) else value


def as_axis(value: Any) -> Any:
    """A single entry stands for a list of one."""
    return as_tuple(value) if isinstance(value, list | tuple) else (value,)


def unique(entries: Sequence[Item]) -> Sequence[Item]:
    """Refuse a value that occurs twice on its axis; 0.001 and 1e-3 are the same value."""
    for index, entry in enumerate(entries):
        if entry in entries[:index]:
            raise wrong(
                f"is the same as entry {entries.index(entry)}; give every value once", (index,), entry
            )
    return entries


def unique_if_crossed(entries: Sequence[Item], info: ValidationInfo) -> Sequence[Item]:
    """`unique` for an axis that may go side by side with others (`combine: zip`), where a value may occur again."""
    return entries if info.data.get("combine") == "zip" else unique(entries)


def named(kind: str, *names: str) -> Callable[[Any], Any]:
    """A validator that reads `name` as `{name: {}}` and refuses everything that does not name one of `names`."""

    def read(value: Any) -> Any:
        if isinstance(value, BaseModel):
            return value
        entry = {value: None} if isinstance(value, str) else value
        if not isinstance(entry, dict) or len(entry) != 1:
            raise ValueError(
                f"needs one {kind}, alone or with its settings; got {value!r}.{did_you_mean('', names)}"
            )
        ((name, settings),) = entry.items()
        if name not in names:
            raise ValueError(f"unknown {kind} {name!r}.{did_you_mean(str(name), names)}")
        return {name: {} if settings is None else settings}

    return read
