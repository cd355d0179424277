"""What a look at one thing gives: an entry of `doctor`'s list."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from phantom_dist.core.result import Result

GIBIBYTE = 2**30


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: of the thing.
        ok: whether it is well; `found`: what is there; `remedy`: what to do where it is not well, else empty.
        needed: whether nothing runs without it.
        warning: whether it will be trouble, although everything runs; None where that is not the question.
    """

    name: str
    ok: bool
    needed: bool
    found: str
    remedy: str
    warning: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """The entry in `checks` of the JSON of `doctor`; `warning` only where it is the question."""
        entry = {"name": self.name, "ok": self.ok, "needed": self.needed, "found": self.found}
        return entry | {"remedy": self.remedy} | ({} if self.warning is None else {"warning": self.warning})

    def line(self) -> str:
        """For people."""
        mark = "ok     " if self.ok else "missing" if self.needed else "absent "
        mark = "WARNING" if self.warning else mark
        return f"{mark} {self.name}: {self.found}" + ("" if self.ok else f"; {self.remedy}")


@dataclass(frozen=True, slots=True)
class Diagnosis(Result):
    """What `doctor` returns: every check, in its order."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether everything is well that is needed."""
        return all(check.ok or not check.needed for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """The object of `doctor`."""
        return {"ok": self.ok, "checks": [check.to_json() for check in self.checks]}

    def parts(self) -> Iterable[str]:
        """A line for each check."""
        return [check.line() for check in self.checks]


def check(name: str, ok: bool, found: str, *, needed: bool = True, remedy: str = "") -> Check:
    """A check: what was looked at, whether it is well, what is there, and what to do if it isn't."""
    return Check(name, ok, needed, found, "" if ok else remedy)


def warned(name: str, ok: bool, found: str, remedy: str) -> Check:
    """A check of what doesn't keep anything from running here, and will be trouble."""
    return Check(name, ok, False, found, "" if ok else remedy, warning=not ok)
