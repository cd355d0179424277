"""Limits of one start of a run: hours and trials."""

from __future__ import annotations

import math
from dataclasses import dataclass

from phantom_dist.core.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """Hours (h), and trials that may be started; None for no limit. When it is spent, running batches still finish.

    Raises:
        InputError: a limit that is not positive.
    """

    hours: float | None = None
    trials: int | None = None

    def __post_init__(self) -> None:
        if self.hours is not None and not (self.hours > 0 and math.isfinite(self.hours)):
            raise InputError(f"--max-hours {self.hours:g}: allowed is a finite number above 0.")
        if self.trials is not None and self.trials < 1:
            raise InputError(f"--max-trials {self.trials}: allowed is a whole number from 1.")

    def spent(self, *, seconds: float, trials: int) -> str | None:
        """The limit that is reached after so many seconds and started trials, as text; None while none is."""
        if self.trials is not None and trials >= self.trials:
            return f"--max-trials {self.trials}: {trials} trials were started"
        hours = seconds / 3600
        if self.hours is not None and hours >= self.hours:
            return f"--max-hours {self.hours:g}: {hours:.2f} hours have passed"
        return None
