"""What one start of a run may take before it stops in order: hours, trials."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from phantom_dist.core.errors import InputError


@dataclass(kw_only=True, slots=True)
class Budget:
    """Hours (h) and trials that may be begun; None for no limit. Batches that run when it is spent come to their end.

    Raises:
        InputError: a limit that is not positive.
    """

    hours: float | None = None
    trials: int | None = None
    begun: int = 0
    _since: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        if self.hours is not None and not (self.hours > 0 and math.isfinite(self.hours)):
            raise InputError(f"--max-hours {self.hours:g}: allowed is a finite number above 0.")
        if self.trials is not None and self.trials < 1:
            raise InputError(f"--max-trials {self.trials}: allowed is a whole number from 1.")

    @property
    def spent(self) -> str | None:
        """Why nothing more is begun; None while something may."""
        if self.trials is not None and self.begun >= self.trials:
            return f"--max-trials {self.trials}: {self.begun} trials were begun"
        hours = (time.monotonic() - self._since) / 3600
        if self.hours is not None and hours >= self.hours:
            return f"--max-hours {self.hours:g}: {hours:.2f} hours have passed"
        return None
