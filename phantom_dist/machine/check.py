"""What a look at one thing gives: an entry of `doctor`'s list."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

GIBIBYTE = 2**30


def check(name: str, ok: bool, found: str, *, needed: bool = True, remedy: str = "") -> Json:
    """An entry: what was looked at, whether it is well, what was found, and what to do if it isn't."""
    return {"name": name, "ok": ok, "needed": needed, "found": found, "remedy": "" if ok else remedy}


def warned(name: str, ok: bool, found: str, remedy: str) -> Json:
    """An entry about what doesn't keep anything from running here, and will be trouble."""
    return check(name, ok, found, needed=False, remedy=remedy) | {"warning": not ok}
