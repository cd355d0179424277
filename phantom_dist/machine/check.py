"""The result of one check, and the list of all that `doctor` returns."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from phantom_dist.core.result import Result

GIBIBYTE = 2**30


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check.

    Attributes:
        name: what was checked.
        ok: whether the check passed; `found`: its state in words; `remedy`: what to do if it failed, else empty.
        needed: whether nothing runs without it.
        warning: whether it will cause trouble, although everything runs now; None if the check can't warn.
    """

    name: str
    ok: bool
    needed: bool
    found: str
    remedy: str
    warning: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """The entry in `checks` of the JSON of `doctor`; `warning` only if the check can warn."""
        entry = {"name": self.name, "ok": self.ok, "needed": self.needed, "found": self.found}
        return entry | {"remedy": self.remedy} | ({} if self.warning is None else {"warning": self.warning})

    def line(self) -> str:
        """The check as a line of text."""
        mark = "ok     " if self.ok else "missing" if self.needed else "absent "
        mark = "WARNING" if self.warning else mark
        return f"{mark} {self.name}: {self.found}" + ("" if self.ok else f"; {self.remedy}")


@dataclass(frozen=True, slots=True)
class Diagnosis(Result):
    """What `doctor` returns: all checks, in a fixed order."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether all needed checks passed."""
        return all(check.ok or not check.needed for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """The JSON object of `doctor`."""
        return {"ok": self.ok, "checks": [check.to_json() for check in self.checks]}

    def parts(self) -> Iterable[str]:
        """A line for each check."""
        return [check.line() for check in self.checks]


def check(name: str, ok: bool, found: str, *, needed: bool = True, remedy: str = "") -> Check:
    """Make a check; `remedy` is dropped if it is ok."""
    return Check(name, ok, needed, found, "" if ok else remedy)


def warned(name: str, ok: bool, found: str, remedy: str) -> Check:
    """Make a check that warns if it is not ok: everything runs now, but there will be trouble later."""
    return Check(name, ok, False, found, "" if ok else remedy, warning=not ok)
