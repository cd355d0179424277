"""A group of ranks on Ray as one worker: a placement group with one actor for each rank, and a leader.

The executor sends a task to the leader, which sends it to every rank and returns rank 0's answer once all have ended.
The attempt ends with `RankLost` if a rank dies, or its process doesn't respond within the group's timeout. After any
failure the ranks may be in different states, so the executor replaces the whole group.
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
"""How long rank 0, whose process is already running, may take to open a port."""

LOOPBACK = "127.0.0.1"

MALLOC = {"MALLOC_MMAP_THRESHOLD_": "1048576", "MALLOC_TRIM_THRESHOLD_": "1048576"}
"""Makes glibc return freed blocks of at least this size (bytes) at once; else it keeps what ZeRO gathers and frees."""


class RankLost(PhantomDistError):
    """A rank of a group is dead or stuck, so the group's task is lost. `preempted`: the rank's node is gone."""

    def __init__(self, message: str, preempted: bool = False) -> None:
        super().__init__(message)
        self.preempted = preempted

    def __reduce__(self) -> tuple[type[RankLost], tuple[str, bool]]:
        return (RankLost, (str(self), self.preempted))


class RayGroup:
    """The actors of a group, with the methods `place` and `do` of a worker, and `kill`; `ranks` are their handles.

    Args:
        settings: for each rank; `settings.group` has their number.
        options: Ray's options for the actor of a rank.
    """

    def __init__(self, settings: WorkerSettings, options: dict[str, Any]) -> None:
        from phantom_dist.scheduling.rank import Rank  # the leader's process needs no torch

        assert settings.group is not None
        bundle = {"CPU": options["num_cpus"], "GPU": options["num_gpus"]}
        nonzero = {resource: count for resource, count in bundle.items() if count}
        self._placement = placement_group([nonzero] * settings.group.ranks, strategy="PACK")
        environment = options["runtime_env"]["env_vars"] | MALLOC
        rank = ray.remote(concurrency_groups={"pulse": 1})(Rank)
        self.ranks = [
            rank.options(
                **options | {"runtime_env": {"env_vars": environment}},
                scheduling_strategy=PlacementGroupSchedulingStrategy(self._placement, index),
            ).remote(settings, index)
            for index in range(settings.group.ranks)
        ]
        leader = ray.remote(Leader).options(num_cpus=0, max_restarts=0)
        self._leader = leader.remote(self.ranks, settings.group.timeout_s)
        self.place, self.do = self._leader.place, self._leader.do

    def kill(self) -> None:
        """End all processes of the group and free their resources."""
        for actor in (self._leader, *self.ranks):
            ray.kill(actor)
        remove_placement_group(self._placement)


class Leader:
    """An actor, without a model or a CPU of its own, that sends every task to all ranks and monitors them."""

    def __init__(self, ranks: Sequence[Any], timeout_s: float) -> None:
        self._ranks = ranks
        self._timeout_s = timeout_s
        self._nodes: list[str] = []
        self._pulses: list[_Pulse] = []

    def place(self) -> Place:
        """Connect the ranks once all of them have started; the place of rank 0.

        Raises:
            RankLost: a rank doesn't start.
            InputError: DeepSpeed is not installed.
        """
        try:
            located = ray.get([rank.__ray_call__.remote(_locate) for rank in self._ranks])
            addresses = [address for address, _ in located]
            address = LOOPBACK if len(set(addresses)) == 1 else addresses[0]
            port = ray.get(self._ranks[0].listen.remote(address), timeout=LISTEN_TIMEOUT_S)
        except (GetTimeoutError, RayActorError, RaySystemError) as error:
            raise RankLost(f"a rank of the group didn't start: {error}") from None
        self._nodes = [place.node for _, place in located]
        self._pulses = [_Pulse(rank) for rank in self._ranks]
        self._on_all_ranks(lambda rank: rank.join.remote(address, port))
        place: Place = located[0][1]
        return place

    def do(self, task: Any, attempt: int, lease: int) -> Any:
        """As `worker.Worker.do`.

        Raises:
            RankLost: a rank is dead or stuck.
        """
        return self._on_all_ranks(lambda rank: rank.do.remote(task, attempt, lease))[0]

    def _on_all_ranks(self, call: Callable[[Any], Any]) -> list[Any]:
        """Call every rank, and return their answers.

        After one rank's error the others get as long as the timeout to end: one of them may have died of the cause.
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
                        f"rank {index} of {len(self._ranks)} is stuck: it hasn't responded for {self._timeout_s:g} s"
                    )
        if errors:
            raise _first(errors)
        return [answers[index] for index in range(len(self._ranks))]


class _Pulse:
    """Checks that a rank's process responds, through an empty call in a thread of its own."""

    def __init__(self, rank: Any) -> None:
        self._rank = rank
        self._send()

    def silence(self) -> float:
        """Seconds for which the process hasn't answered. A dead process is reported by its task, not here."""
        ready, _ = ray.wait([self._call], timeout=0)
        if ready:
            self._send()
        return time.monotonic() - self._since

    def _send(self) -> None:
        self._call = self._rank.pulse.options(concurrency_group="pulse").remote()
        self._since = time.monotonic()


def _locate(rank: Any) -> tuple[str, Place]:
    """The address of a rank's node, and the rank's place. Runs in the rank's process."""
    return get_node_ip_address(), this_place(ray.get_runtime_context().get_node_id())


def node_is_alive(node: str) -> bool:
    """Whether the node with this id is still alive."""
    return any(n["Alive"] and n["NodeID"] == node for n in ray.nodes())


def _first(errors: dict[int, BaseException]) -> BaseException:
    """The most informative error: InputError and StoreError first, then OutOfMemory, then that of the lowest rank."""

    def priority(index: int) -> tuple[bool, bool, int]:
        error = errors[index]
        return not isinstance(error, InputError | StoreError), not isinstance(error, OutOfMemory), index

    return errors[min(errors, key=priority)]
