"""What an exception of Ray's means: which event of the ledger it is, and whether to start a worker once more."""

from __future__ import annotations

from collections.abc import Callable

from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError

from phantom_dist.core.errors import InputError, OutOfMemory, StoreError, describe
from phantom_dist.core.outcome import Outcome
from phantom_dist.scheduling.messages import Failed, Lost, Start
from phantom_dist.scheduling.ray_group import RankLost

MAX_FAILED_STARTS = 10
"""After so many workers in a row that failed to start, the cause isn't bad luck: no more are started in their places,
and the run ends if no worker is left."""


def event_of(
    started: Start, error: RayError, node_is_alive: Callable[[], bool], *, is_group: bool = False
) -> Lost | Failed:
    """The event of a task whose result Ray couldn't return.

    Args:
        started: the command that sent the task.
        error: what `ray.get` raised.
        node_is_alive: whether the worker's node still is; called only if the answer matters.
        is_group: the worker is a group of ranks. After a failure they may be in different states, so it is lost.

    Raises:
        InputError, StoreError: the task's own; they end the run.
    """
    worker, lease = started.worker, started.lease
    match error:
        case OutOfMemoryError():  # Ray's memory monitor has killed its process
            return Lost(worker, lease, describe(error), outcome=Outcome.OUT_OF_MEMORY)
        case RayTaskError(cause=RankLost() as cause):
            return Lost(worker, lease, str(cause), cause.preempted)
        case RayTaskError(cause=cause):
            failed = _failed(started, cause)
            return Lost(worker, lease, failed.message, outcome=failed.outcome) if is_group else failed
        case RayActorError(preempted=True):
            return Lost(worker, lease, describe(error), preempted=True)
        case _:  # the worker is dead, or its result was lost with its node's object store
            return Lost(worker, lease, describe(error), preempted=not node_is_alive())


def _failed(started: Start, cause: BaseException) -> Failed:
    if isinstance(cause, InputError | StoreError):
        raise cause
    if isinstance(cause, OutOfMemory):
        return Failed(started.worker, started.lease, Outcome.OUT_OF_MEMORY, str(cause))
    return Failed(started.worker, started.lease, Outcome.ERROR, describe(cause))


class FailedStarts:
    """Counts the workers in a row that failed to start."""

    def __init__(self) -> None:
        self._in_a_row = 0

    def worker_started(self) -> None:
        """Count from zero again."""
        self._in_a_row = 0

    def start_again(self, error: RayError, *, others_work: bool) -> bool:
        """Whether to start another worker in the place of one that failed to start.

        Raises:
            InputError: the worker's own, or too many have failed and no other works.
        """
        if isinstance(error, RayTaskError) and isinstance(error.cause, InputError):
            raise error.cause from None
        self._in_a_row += 1
        if self._in_a_row < MAX_FAILED_STARTS:
            return True
        if not others_work:
            raise InputError(
                f"workers don't start; {self._in_a_row} in a row failed: {describe(error)}"
            ) from None
        return False
