"""Reads the current learning rate from any optimizer; None where it has none.

Adafactor with a relative step stores None, some optimizers have no `lr` at all, and some wrappers have no groups before
the first step: there the monitor counts steps instead (`Pace`). A rate may also be a tensor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def rate_of(optimizer: Any) -> float | None:
    """The largest learning rate of the optimizer's groups; None where no group has one."""
    try:
        groups = list(optimizer.param_groups)
        rates = [as_rate(group["lr"]) for group in groups if isinstance(group, Mapping) and "lr" in group]
    except Exception:  # foreign code: a wrapper that isn't ready, a property that raises
        return None
    return max((rate for rate in rates if rate is not None), default=None)


def as_rate(value: Any) -> float | None:
    """The value as a finite rate of at least 0, from anything that `float` accepts, such as a tensor; else None."""
    try:
        rate = float(value)
    except Exception:
        return None
    return rate if math.isfinite(rate) and rate >= 0 else None


class Pace:
    """How much each step adds to τ: its learning rate, or 1 where no rate is known.

    The unit of τ is fixed at the first step: a rate that becomes known later is ignored, and where a known rate can no
    longer be read, its last value is used.

    Args:
        optimizer: source of the rate; None: the caller passes each step's rate to `advance`, or none.
    """

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = optimizer
        self.rate = rate_of(optimizer)
        self._steps: bool | None = None if optimizer is None else self.rate is None

    @property
    def counts_steps(self) -> bool:
        """True where no rate is known and τ counts steps."""
        return bool(self._steps)

    @property
    def ahead(self) -> float:
        """How much a step adds to τ from now on; 0 while no rate is known."""
        return 1.0 if self._steps else self.rate or 0.0

    def resume(self, rate: float | None) -> float:
        """Continue a training, with its last rate or None where it counted steps; returns `ahead`."""
        self.rate, self._steps = rate, rate is None
        return self.ahead

    def advance(self, given: Any) -> tuple[float, float]:
        """After a step, with its rate where the caller gave one: what it added to τ, and what the next one will."""
        before = self.rate
        known = as_rate(given) if given is not None else rate_of(self._optimizer)
        if self._steps is None:
            self._steps = known is None
        if self._steps:
            self.rate = None
            return 1.0, 1.0
        ahead = known if known is not None else before or 0.0
        self.rate = ahead
        # An optimizer is read after the step, when its scheduler may have advanced: the step used the rate read before.
        reads_ahead = given is None and self._optimizer is not None
        return (before if reads_ahead and before is not None else ahead), ahead
