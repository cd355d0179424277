"""Model references that every reader of the tables takes for text.

Traces lie in folders `model=…`, and readers guess the type of what a folder's name says: pyarrow and Polars read `007`
as a number, DuckDB `2024-05-01` and `epoch` as dates, Polars `true` as a truth value. The value would then equal no
model of `trials`, and a merge would silently be empty. Escapes don't help, for readers guess after they have
undone them. So such a reference is spelled in another way that means the same model, from the sweep on: a local folder
`007` is `./007`, a hub name `007` is `hub:007`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from phantom_dist.spec.axis import wrong

PATHS = ("./", "../", "/", "~")
"""How a reference begins that can only be a path."""

_WORDS = (
    "true false yes no on off t f y n null none nil na n/a nan nat inf infinity epoch now today tomorrow yesterday "
    "__hive_default_partition__ utc gmt am pm jan feb mar apr may jun jul aug sep sept oct nov dec january february "
    "march april june july august september october november december mon tue wed thu fri sat sun"
)
WORDS = frozenset(_WORDS.split())
"""Words, in any case, that some reader takes for a truth value, nothing at all, or a part of a number or a date."""

MOST_BYTES = 255 - len("model=")
"""A file system's limit for a name: the traces of a model lie in one folder."""

_HEXADECIMAL = re.compile(r"[+-]?0x", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]{2,}")


def is_text(reference: str) -> bool:
    """Whether no reader can take it for anything but text."""
    if reference.startswith(PATHS):
        return True
    if reference.casefold() in WORDS or _HEXADECIMAL.match(reference):
        return False
    own_words = [word for word in _WORD.findall(reference) if word.casefold() not in WORDS]
    return reference[:1].isalpha() or bool(
        own_words
    )  # numbers and dates begin otherwise, or have no such words


def as_text(reference: str) -> str:
    """The reference, or another spelling of it that is text to every reader.

    Raises:
        ValueError: there is none.
    """
    if is_text(reference):
        return reference
    if reference.startswith(".") or Path(reference).exists():
        return f"./{reference}"
    if ":" in reference:
        raise ValueError(
            f"{reference!r} would be taken for a number or a time by programs that read the traces; "
            "allowed: a reference that begins with a letter, or a folder as ./NAME"
        )
    return f"hub:{reference}"


def spellings(reference: str) -> tuple[str, ...]:
    """How `as_text` may spell a reference, by whether there is such a folder; itself where it is text."""
    return (reference,) if is_text(reference) else (f"./{reference}", f"hub:{reference}")


def all_as_text(references: Sequence[str]) -> tuple[str, ...]:
    """The references, each as text.

    Raises:
        ValidationError: one has no such spelling, or is longer than a folder's name can be.
    """
    spelled: list[str] = []
    for index, reference in enumerate(references):
        try:
            spelled.append(as_text(reference))
        except ValueError as error:
            raise wrong(str(error), (index,), reference) from None
        if (size := len(quote(spelled[-1], safe=""))) > MOST_BYTES:
            raise wrong(
                f"is too long: the folder of its traces, `model=…`, would need {size} bytes for it; allowed: "
                f"{MOST_BYTES}, where / and letters outside ASCII count three and more (give a shorter path or a link)",
                (index,),
                reference,
            )
    return tuple(spelled)
