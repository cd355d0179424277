"""A group on Ray that behaves as one worker: actors in a placement group, one rank each, and a leader that speaks for
them.

A task goes to the leader, which hands it to every rank and answers with rank 0's answer once all have ended. A rank
that dies, or whose process gives no sign of life for the group's timeout, ends the attempt: `RankLost`. After any
failure the ranks may stand at different places, so the executor gives the place a new group.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import GetTimeoutError, OutOfMemoryError, RayActorError, RaySystemError, RayTaskError
from ray.util import get_node_ip_address, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from phantom_dist.core.errors import InputError, OutOfMemory, PhantomDistError, StoreError
from phantom_dist.scheduling.place import Place, this_place

if TYPE_CHECKING:
    from phantom_dist.scheduling.executor import WorkerSettings

LISTEN_TIMEOUT_S = 60.0
"""How long rank 0, whose process is there already, may take to open a port."""

LOOPBACK = "127.0.0.1"

MALLOC = {"MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_TRIM_THRESHOLD_": "1048576"}
"""glibc keeps what ZeRO gathers and frees, unless pieces of this size (bytes) go back to the system at once."""


class RankLost(PhantomDistError):
    """A rank of a group is dead or stuck; whatever the group was doing is lost. `preempted`: its node is gone."""

    def __init__(self, message: str, preempted: bool = False) -> None:
        super().__init__(message)
        self.preempted = preempted

    def __reduce__(self) -> tuple[type[RankLost], tuple[str, bool]]:
        return (RankLost, (str(self), self.preempted))


class RayGroup:
    """A group's actors, seen by the executor: `place` and `do` as a worker's, and `kill`.

    Args:
        settings: how each rank is set up; `settings.group` says how many there are.
        options: a rank's options as a Ray actor.
    """

    def __init__(self, settings: WorkerSettings, options: dict[str, Any]) -> None:
        from phantom_dist.scheduling.rank import Rank  # a leader needs no torch

        assert settings.group is not None
        bundle = {"CPU": options["num_cpus"], "GPU": options["num_gpus"]}
        wanted = {resource: count for resource, count in bundle.items() if count}
        self._places = placement_group([wanted] * settings.group.ranks, strategy="PACK")
        environment = options["runtime_env"]["env_vars"] | MALLOC
        rank = ray.remote(concurrency_groups={"pulse": 1})(Rank)
        self._ranks = [
            rank.options(
                **options | {"runtime_env": {"env_vars": environment}},
                scheduling_strategy=PlacementGroupSchedulingStrategy(self._places, index),
            ).remote(settings, index)
            for index in range(settings.group.ranks)
        ]
        leader = ray.remote(Leader).options(num_cpus=0, max_restarts=0)
        self._leader = leader.remote(self._ranks, settings.group.timeout_s)
        self.place, self.do = self._leader.place, self._leader.do

    def kill(self) -> None:
        """End all of its processes and give their places back."""
        for actor in (self._leader, *self._ranks):
            ray.kill(actor)
        remove_placement_group(self._places)


class Leader:
    """Hands every task to all ranks and watches over them; an actor without a model or a CPU of its own."""

    def __init__(self, ranks: Sequence[Any], timeout_s: float) -> None:
        self._ranks = ranks
        self._timeout_s = timeout_s
        self._nodes: list[str] = []
        self._pulses: list[_Pulse] = []

    def place(self) -> Place:
        """Connect the ranks, once all of them are there; where rank 0 runs.

        Raises:
            RankLost: a rank doesn't start.
            InputError: DeepSpeed is not installed.
        """
        try:
            found = ray.get([rank.__ray_call__.remote(_whereabouts) for rank in self._ranks])
            addresses = [address for address, _ in found]
            address = LOOPBACK if len(set(addresses)) == 1 else addresses[0]
            port = ray.get(self._ranks[0].listen.remote(address), timeout=LISTEN_TIMEOUT_S)
        except (GetTimeoutError, RayActorError, RaySystemError) as error:
            raise RankLost(f"a rank of the group didn't start: {error}") from None
        self._nodes = [place.node for _, place in found]
        self._pulses = [_Pulse(rank) for rank in self._ranks]
        self._together(lambda rank: rank.join.remote(address, port))
        place: Place = found[0][1]
        return place

    def do(self, task: Any, attempt: int, lease: int) -> Any:
        """As `worker.Worker.do`.

        Raises:
            RankLost: a rank is dead or stuck.
        """
        return self._together(lambda rank: rank.do.remote(task, attempt, lease))[0]

    def _together(self, call: Callable[[Any], Any]) -> list[Any]:
        """Every rank's answer.

        After a rank's error the others get the timeout to end as well: one of them may have died of the cause.
        """
        waiting = {call(rank): index for index, rank in enumerate(self._ranks)}
        answers: dict[int, Any] = {}
        errors: dict[int, BaseException] = {}
        last_error = 0.0
        while waiting and not (errors and time.monotonic() - last_error > self._timeout_s):
            ready, _ = ray.wait(list(waiting), timeout=min(1.0, self._timeout_s / 4))
            for reference in ready:
                index = waiting.pop(reference)
                try:
                    answers[index] = ray.get(reference)
                except OutOfMemoryError as error:  # Ray's memory monitor has killed its process
                    raise OutOfMemory(f"rank {index}: {error}") from None
                except (RayActorError, RaySystemError) as error:
                    text = f"rank {index} of {len(self._ranks)} died: {error}"
                    raise RankLost(text, preempted=not node_is_alive(self._nodes[index])) from None
                except RayTaskError as error:
                    errors[index], last_error = error.cause, time.monotonic()
            for index, pulse in enumerate(self._pulses):
                if pulse.silence() > self._timeout_s:
                    raise RankLost(
                        f"rank {index} of {len(self._ranks)} is stuck: no sign of life for {self._timeout_s:g} s"
                    )
        if errors:
            raise _first(errors)
        return [answers[index] for index in range(len(self._ranks))]


class _Pulse:
    """When a rank's process last gave a sign of life: an empty call in a thread of its own."""

    def __init__(self, rank: Any) -> None:
        self._rank = rank
        self._ask()

    def silence(self) -> float:
        """Seconds for which the process owes an answer; a dead one's is told by its task."""
        ready, _ = ray.wait([self._asked], timeout=0)
        if ready:
            self._ask()
        return time.monotonic() - self._since

    def _ask(self) -> None:
        self._asked = self._rank.pulse.options(concurrency_group="pulse").remote()
        self._since = time.monotonic()


def _whereabouts(rank: Any) -> tuple[str, Place]:
    """The address of a rank's node, and where the rank runs."""
    return get_node_ip_address(), this_place(ray.get_runtime_context().get_node_id())


def node_is_alive(node: str) -> bool:
    """Whether the cluster still has the node of that id."""
    return any(n["Alive"] and n["NodeID"] == node for n in ray.nodes())


def _first(errors: dict[int, BaseException]) -> BaseException:
    """The error that says most: the user's own first, then what names a cause, then the lowest rank's."""

    def weight(index: int) -> tuple[bool, bool, int]:
        error = errors[index]
        return not isinstance(error, InputError | StoreError), not isinstance(error, OutOfMemory), index

    return errors[min(errors, key=weight)]
