"""The learning rate in use, read from somebody's optimizer, whatever it is; None where nobody can say it.

Adafactor with a relative step keeps None, some optimizers have no `lr` at all, some wrappers have no groups before the
first step, and a rate may be a tensor. The monitor then counts steps instead (`Pace`).
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
    except Exception:  # a wrapper that isn't ready, or a property that fails: somebody else's code
        return None
    return max((rate for rate in rates if rate is not None), default=None)


def as_rate(value: Any) -> float | None:
    """A finite rate of zero or more, from a number, a tensor of one element or whatever turns into one; else None."""
    try:
        rate = float(value)
    except Exception:
        return None
    return rate if math.isfinite(rate) and rate >= 0 else None


class Pace:
    """τ's unit, and how much of it a step takes: the learning rate, or 1 where no rate is known.

    One training has one unit: a rate that becomes known later changes nothing, and one that gets lost stays as it was.

    Args:
        optimizer: where the rate is read; None: each step's is told, or left out.
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
        """What a step takes from here on; 0 before anybody said."""
        return 1.0 if self._steps else self.rate or 0.0

    def resume(self, rate: float | None) -> float:
        """The last rate of the training that goes on, None where it counted steps; returns what a step takes."""
        self.rate, self._steps = rate, rate is None
        return self.ahead

    def advance(self, told: Any) -> tuple[float, float]:
        """A step was taken: its share of τ, and that of a step from here on; `told`: its rate where there was one."""
        before = self.rate
        known = as_rate(told) if told is not None else rate_of(self._optimizer)
        if self._steps is None:
            self._steps = known is None
        if self._steps:
            self.rate = None
            return 1.0, 1.0
        ahead = known if known is not None else before or 0.0
        self.rate = ahead
        # An optimizer is read after the step, when its scheduler may have moved on: that step's rate was read before.
        reads_ahead = told is None and self._optimizer is not None
        return (before if reads_ahead and before is not None else ahead), ahead
