"""A run's heartbeat: its state in `state.json`, for `status`, `cancel` and later starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from phantom_dist.campaign.peak_memory import PeakMemory
from phantom_dist.campaign.progress import Progress
from phantom_dist.campaign.progress_view import ProgressView
from phantom_dist.campaign.run_state import RunState
from phantom_dist.traces import RunDirectory
from phantom_dist.traces.process import this_process

Observer = Callable[[Progress], None]


class Heartbeat:
    """Writes the state of one start of a run.

    Args:
        state: the run's state.
        directory: the run directory, under the driver's own lease.
        observer: called with each `Progress` that is written.

    Attributes, set by the run's driver:
        workers: the largest number of workers at one time.
        spent: the budget's limit that is reached; None while none is.
        complete: whether nothing is left to do.
    """

    def __init__(self, state: RunState, directory: RunDirectory, observer: Observer) -> None:
        self._plan, self._view = state.plan, ProgressView(state)
        self._directory, self._observer = directory, observer
        self._memory = PeakMemory()
        self.workers = 0
        self.spent: str | None = None
        self.complete = False
        self._started_at = time.time()
        self._started = self.last = time.monotonic()
        self._before: dict[str, Any] = directory.read_state()

    @property
    def was_complete(self) -> bool:
        """Whether the run was complete before this start."""
        return self._before.get("state") == "complete"

    @property
    def elapsed(self) -> float:
        """Time (s) since this start began."""
        return time.monotonic() - self._started

    @contextmanager
    def beating(self) -> Iterator[None]:
        """Write `running` before the block, and `complete` or `interrupted` after it, also if it raises."""
        try:
            self.write("running")
            yield
        finally:
            self.write("complete" if self.complete else "interrupted")

    def write(self, state: str) -> None:
        """Write the state file, then call the observer; `state`: `running`, `complete` or `interrupted`."""
        self.last = time.monotonic()
        self._memory.sample()
        progress = self._view.progress(elapsed=self.elapsed, workers=self.workers)
        self._directory.write_state(
            {
                "state": state,
                **this_process(),
                "heartbeat_at": time.time(),
                "started_at": self._started_at,
                "seconds": self._before.get("seconds", 0.0) + self.elapsed,
                "expected_trials": progress.expected,
                "workers": self.workers,
                "reason": self.spent if state == "interrupted" else None,
                "resources": self._plan.resources.to_json(),
                "engine": self._plan.engine,
                "peak_memory_bytes": max(self._memory.peak_bytes, self._before.get("peak_memory_bytes", 0)),
                "models": {name: metadata.title for name, metadata in self._plan.models.items()},
            }
        )
        self._observer(progress)
