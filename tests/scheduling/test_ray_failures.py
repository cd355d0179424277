"""What the driver concludes from each exception that Ray raises."""

from __future__ import annotations

import pytest
from ray.exceptions import (
    ActorDiedError,
    ActorUnschedulableError,
    ObjectLostError,
    OutOfMemoryError,
    OwnerDiedError,
    RayActorError,
    RayTaskError,
    RuntimeEnvSetupError,
)

from phantom_dist.core.errors import InputError, OutOfMemory, StoreError
from phantom_dist.core.outcome import Outcome
from phantom_dist.scheduling.messages import Failed, Lost, Start
from phantom_dist.scheduling.ray_failures import MAX_FAILED_STARTS, FailedStarts, event_of
from phantom_dist.scheduling.ray_group import RankLost
from phantom_dist.scheduling.tasks import probe_task

from .conformance import problem

OF_OBJECTS = ("00" * 28, "owner", "call")


def started() -> Start:
    return Start("worker-0", probe_task([problem()]), 1, 5)


def raised(cause: Exception) -> RayTaskError:
    return RayTaskError("do", "the traceback", cause)


@pytest.mark.parametrize(
    "error", [ObjectLostError(*OF_OBJECTS), OwnerDiedError(*OF_OBJECTS), ActorDiedError()]
)
@pytest.mark.parametrize("alive", [True, False])
@pytest.mark.parametrize("is_group", [True, False])
def test_a_result_that_is_lost_with_its_node_is_a_lost_worker(error, alive, is_group):
    event = event_of(started(), error, lambda: alive, is_group=is_group)
    assert event == Lost("worker-0", 5, event.message, preempted=not alive)
    assert event.message


def test_a_preempted_actor_is_known_without_its_node():
    error = RayActorError(preempted=True)
    assert event_of(started(), error, lambda: pytest.fail("not asked")).preempted


@pytest.mark.parametrize("is_group", [True, False])
def test_a_process_that_rays_memory_monitor_killed_is_lost_for_want_of_memory(is_group):
    event = event_of(started(), OutOfMemoryError("too large"), lambda: True, is_group=is_group)
    assert event == Lost("worker-0", 5, event.message, outcome=Outcome.OUT_OF_MEMORY)


@pytest.mark.parametrize(
    ("cause", "outcome"),
    [(OutOfMemory("full"), Outcome.OUT_OF_MEMORY), (IndexError("no such"), Outcome.ERROR)],
)
def test_a_tasks_own_error_costs_a_worker_nothing_and_a_group_its_processes(cause, outcome):
    alone = event_of(started(), raised(cause), lambda: True)
    assert alone == Failed("worker-0", 5, outcome, alone.message)
    group = event_of(started(), raised(cause), lambda: True, is_group=True)
    assert group == Lost("worker-0", 5, alone.message, outcome=outcome)


@pytest.mark.parametrize("preempted", [True, False])
def test_a_dead_rank_is_a_lost_group(preempted):
    event = event_of(started(), raised(RankLost("rank 1", preempted)), lambda: True, is_group=True)
    assert event == Lost("worker-0", 5, "rank 1", preempted)


@pytest.mark.parametrize("error", [InputError("no such model"), StoreError("no room on the disk")])
@pytest.mark.parametrize("is_group", [True, False])
def test_errors_that_end_the_run_are_raised(error, is_group):
    with pytest.raises(type(error), match=str(error)):
        event_of(started(), raised(error), lambda: True, is_group=is_group)


@pytest.mark.parametrize("error", [RuntimeEnvSetupError("no pip"), ActorUnschedulableError("no room")])
def test_one_bad_node_ends_no_run_that_others_work_on(error):
    starts = FailedStarts()
    again = [starts.start_again(error, others_work=True) for _ in range(3 * MAX_FAILED_STARTS)]
    assert again == [True] * (MAX_FAILED_STARTS - 1) + [False] * (2 * MAX_FAILED_STARTS + 1)
    with pytest.raises(InputError, match="workers don't start"):
        starts.start_again(error, others_work=False)
    starts.worker_started()
    assert starts.start_again(error, others_work=False), "the count begins anew"


def test_wrong_input_that_a_start_finds_ends_the_run():
    with pytest.raises(InputError, match="no DeepSpeed"):
        FailedStarts().start_again(raised(InputError("no DeepSpeed")), others_work=True)
