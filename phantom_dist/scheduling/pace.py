"""How long tasks take compared with their predicted time."""

from __future__ import annotations

from collections import deque


class Pace:
    """Ratios of measured to predicted time of the latest finished tasks; quantiles are None until one is known."""

    _LATEST = 256
    _NEARLY_ALL = 0.95

    def __init__(self) -> None:
        self._ratios: deque[float] = deque(maxlen=self._LATEST)

    def learn(self, predicted: float, taken: float) -> None:
        """Record a finished task's predicted and measured time (s); a task without a prediction is ignored."""
        if predicted > 0:
            self._ratios.append(taken / predicted)

    @property
    def usual(self) -> float | None:
        """The median ratio."""
        return self._quantile(0.5)

    @property
    def most(self) -> float | None:
        """The 95 % quantile; twice the median while fewer than 20 ratios are known."""
        usual, few = self.usual, len(self._ratios) < 1 / (1 - self._NEARLY_ALL)
        return 2 * usual if usual is not None and few else self._quantile(self._NEARLY_ALL)

    def _quantile(self, share: float) -> float | None:
        ranked = sorted(self._ratios)
        return ranked[int(share * (len(ranked) - 1))] if ranked else None
