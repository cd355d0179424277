"""The interface of every engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from phantom_dist.core.measurement import Trial, TrialResult
from phantom_dist.models import LoadedModel


class Engine(Protocol):
    """Trains the trials of a batch on one loaded model and leaves that model as it found it."""

    @property
    def name(self) -> str:
        """The engine's name in the column `engine`."""
        ...

    def run(self, loaded: LoadedModel, trials: Sequence[Trial]) -> Iterator[TrialResult]:
        """Yield one result per trial, in any order.

        A trial that diverges or becomes non-finite is a result. What kills the batch is an exception:
        `core.errors.OutOfMemory` if the device's memory is exhausted, anything else as it was raised.
        """
        ...
