"""Turns pydantic's errors into messages for users: place, value, what is allowed, similar names."""

from __future__ import annotations

import re
import types
from collections.abc import Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from phantom_dist.core.errors import did_you_mean

Key = tuple[str | int, ...]

_SHOWN = 80
"""A message repeats at most this many characters of an offending value."""


def explain(error: ValidationError, annotation: Any, source: str, lines: Mapping[Key, int]) -> str:
    """One line for every problem, in the order of the file: `source:line: key: what is wrong; got value`."""
    messages: dict[tuple[int, str], None] = {}
    for details in error.errors(include_url=False):
        if details["type"] == "too_short" and details["input"]:
            continue  # pydantic counts only the valid entries; the invalid ones have their own messages
        key = _place(details, lines)
        line = _line(key, lines)
        place = f"{source}:{line}" if line else source
        name = f"{dotted(key)}: " if key else ""
        messages[(line or 0, f"{place}: {name}{_what(details, annotation)}")] = None
    return "\n".join(text for _, text in sorted(messages, key=lambda item: item[0]))


def dotted(key: Key) -> str:
    """`("methods", 1, "lora")` as `methods[1].lora`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key)
    return text.removeprefix(".")


def _place(details: ErrorDetails, lines: Mapping[Key, int]) -> Key:
    """The error's location without the names that pydantic adds for members of unions."""
    loc = details["loc"]
    if not lines:
        return loc
    key: Key = ()
    for part in loc:
        if (*key, part) in lines:
            key = (*key, part)
    if details["type"] == "missing":
        return (*key, loc[-1])
    return key


def _line(key: Key, lines: Mapping[Key, int]) -> int | None:
    return next((lines[key[:n]] for n in range(len(key), -1, -1) if key[:n] in lines), None)


def _what(details: ErrorDetails, annotation: Any) -> str:
    loc, kind, context = details["loc"], details["type"], details.get("ctx", {})
    if kind == "extra_forbidden":
        return f"unknown key.{did_you_mean(str(loc[-1]), _keys_at(annotation, loc[:-1]))}"
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return str(context["error"])
    if kind == "stated":  # raised by `axis.wrong`
        return details["msg"]
    if kind == "too_short":
        return "should have at least one value; it has none"
    value = details["input"]
    if kind == "literal_error":
        allowed = re.findall(r"[^\s',]+(?=')|\b\d+\b", context["expected"])
        return f"unknown value {_shown(value)}.{did_you_mean(str(value), allowed)}"
    text = re.sub(r"^(Input|String|List|Tuple|Value) should", "should", details["msg"])
    text = text.replace("a valid tuple", "a list").replace("a valid array", "a list")
    text = text.replace("an object", "a mapping of keys to values")
    return f"{text}; got {_shown(value)}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _keys_at(annotation: Any, loc: Key) -> set[str]:
    """The keys that a mapping at this location may have."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _keys_at(get_args(annotation)[0], loc)
    if origin in (Union, types.UnionType):
        members = get_args(annotation)
        direct = set[str]().union(*(_keys_at(member, loc) for member in members))
        # if pydantic chose a member of a union, the location contains its tag
        return direct or set[str]().union(*(_keys_at(member, loc[1:]) for member in members if loc))
    if origin in (tuple, list):
        return _keys_at(get_args(annotation)[0], loc[1:]) if loc else set()
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return set()
    if not loc:
        return set(annotation.model_fields)
    below = annotation.model_fields.get(str(loc[0]))
    return set() if below is None else _keys_at(below.annotation, loc[1:])
