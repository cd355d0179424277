"""One training example in one of the forms that TRL reads, and its canonical text.

| form | fields |
|---|---|
| `prompt-completion` | `prompt` and `completion`, strings |
| `text` | `text`, a string |
| `messages` | `messages`, a list of `{"role", "content"}`; the tokenizer's chat template makes them a text |

Other fields are ignored. The canonical text is JSON of the form's fields alone, in this order, without spaces; so the
same examples have the same hash, whatever file they come from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

Form: TypeAlias = Literal["prompt-completion", "text", "messages"]

_FIELDS: dict[Form, tuple[str, ...]] = {
    "prompt-completion": ("prompt", "completion"),
    "text": ("text",),
    "messages": ("messages",),
}


class NoExample(ValueError):
    """Something is no example; the message says why."""


def form_of(fields: Mapping[str, Any]) -> Form:
    """The form of an example.

    Raises:
        NoExample: it has the fields of no form, or of several.
    """
    present = {name for name, value in fields.items() if value is not None}
    whole = [form for form, names in _FIELDS.items() if present.issuperset(names)]
    if len(whole) > 1:
        raise NoExample(f"has the fields of several forms ({' and '.join(whole)}); one is allowed")
    if whole:
        return whole[0]
    for missing, other in (("completion", "prompt"), ("prompt", "completion")):
        if other in present:
            raise NoExample(f"has {other!r} but no {missing!r}")
    allowed = "; ".join(" and ".join(names) for names in _FIELDS.values())
    raise NoExample(
        f"has none of the fields that are read ({allowed}); it has {', '.join(sorted(present)) or 'none'}"
    )


def canonical(fields: Mapping[str, Any], form: Form) -> str | None:
    """An example's canonical text; None where it is empty: nothing to learn.

    Raises:
        NoExample: it has another form, or a field of another type.
    """
    own = form_of(fields)
    if own != form:
        raise NoExample(f"has the form {own}, the examples before it {form}; a file holds one form")
    if form == "messages":
        messages = [_message(entry) for entry in _list(fields["messages"])]
        kept: dict[str, Any] = {"messages": messages}
        is_empty = not any(message["content"].strip() for message in messages)
    else:
        kept = {name: _string(fields[name], name) for name in _FIELDS[form]}
        is_empty = not kept[_FIELDS[form][-1]].strip()
    return None if is_empty else json.dumps(kept, ensure_ascii=False, separators=(",", ":"))


def _string(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise NoExample(f"{name!r} should be a string; got {value!r:.60}")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise NoExample(f"'messages' should be a list of messages; got {value!r:.60}")
    return value


def _message(entry: Any) -> dict[str, str]:
    if not isinstance(entry, Mapping) or not {"role", "content"} <= set(entry):
        raise NoExample(f"a message should have 'role' and 'content'; got {entry!r:.60}")
    return {name: _string(entry[name], name) for name in ("role", "content")}
