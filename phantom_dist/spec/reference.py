"""Model references that every reader of the tables takes for text.

Traces are in folders `model=…`, and readers infer the type of the value from the folder's name: pyarrow and Polars read
`007` as a number, DuckDB `2024-05-01` and `epoch` as dates, Polars `true` as a boolean. The value would then equal no
model of `trials`, and a join would silently be empty. Escapes don't help, because readers infer types after they have
removed them. Such a reference is therefore replaced by another one for the same model when the sweep is read: a local
folder `007` becomes `./007`, a hub name `007` becomes `hub:007`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from phantom_dist.spec.axis import wrong

PATHS = ("./", "../", "/", "~")
"""Prefixes that only paths have."""

_WORDS = (
    "true false yes no on off t f y n null none nil na n/a nan nat inf infinity epoch now today tomorrow yesterday "
    "__hive_default_partition__ utc gmt am pm jan feb mar apr may jun jul aug sep sept oct nov dec january february "
    "march april june july august september october november december mon tue wed thu fri sat sun"
)
WORDS = frozenset(_WORDS.split())
"""Words, in any case, that some reader takes for a boolean, a null, or a part of a number or a date."""

MAX_BYTES = 255 - len("model=")
"""File systems limit a folder's name to 255 bytes."""

_HEXADECIMAL = re.compile(r"[+-]?0x", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]{2,}")


def is_text(reference: str) -> bool:
    """Whether every reader takes the reference for text."""
    if reference.startswith(PATHS):
        return True
    if reference.casefold() in WORDS or _HEXADECIMAL.match(reference):
        return False
    own_words = [word for word in _WORD.findall(reference) if word.casefold() not in WORDS]
    # numbers and dates begin with no letter and contain no other words
    return reference[:1].isalpha() or bool(own_words)


def as_text(reference: str) -> str:
    """The reference, or another one for the same model that every reader takes for text.

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
    """What `as_text` may return: the reference if it is text, else `./NAME` (a folder) or `hub:NAME`."""
    return (reference,) if is_text(reference) else (f"./{reference}", f"hub:{reference}")


def all_as_text(references: Sequence[str]) -> tuple[str, ...]:
    """`as_text` of each reference.

    Raises:
        ValidationError: a reference can't be spelled as text, or is longer than a folder's name can be.
    """
    spelled: list[str] = []
    for index, reference in enumerate(references):
        try:
            spelled.append(as_text(reference))
        except ValueError as error:
            raise wrong(str(error), (index,), reference) from None
        if (size := len(quote(spelled[-1], safe=""))) > MAX_BYTES:
            raise wrong(
                f"is too long: the folder of its traces, `model=…`, would need {size} bytes for it; allowed: "
                f"{MAX_BYTES}, where / and letters outside ASCII count three and more (give a shorter path or a link)",
                (index,),
                reference,
            )
    return tuple(spelled)
