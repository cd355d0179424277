"""The interface of every engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from phantom_dist.core.measurement import Trial, TrialResult
from phantom_dist.models.load import LoadedModel


class Engine(Protocol):
    """Trains the trials of a batch on one loaded model, and restores the model afterwards."""

    @property
    def name(self) -> str:
        """The engine's name in the column `engine`."""
        ...

    def run(self, loaded: LoadedModel, trials: Sequence[Trial]) -> Iterator[TrialResult]:
        """Yield one result per trial, in any order.

        A trial that diverges, or becomes NaN or Inf, is a result. A failure of the whole batch is an exception:
        `core.errors.OutOfMemory` if memory is exhausted; any other one is passed on unchanged.
        """
        ...
