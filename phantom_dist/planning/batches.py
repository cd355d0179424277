"""Trials into batches: a function of the plan alone, so results don't depend on the number of workers.

Trials that can be lanes of one batch (one model, trained with one configuration for the same steps) form batch groups,
in the order of the sweep and as large as the memory of a kind of workers allows. A group over given learning rates is
one batch. A group of searches is one batch in each round: what its searches ask for next, once all of them have their
last answer.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from phantom_dist.core.trial import Problem
from phantom_dist.planning.sizes import GPU_SEARCHES, MAX_LANES, MAX_SEARCHES
from phantom_dist.scheduling.rank_group import RankGroup
from phantom_dist.scheduling.tasks import batch_id
from phantom_dist.scheduling.worker_kind import WorkerKind

Member = tuple[Problem, float | None]
"""A problem and its learning rate; None where a search decides."""


@dataclass(frozen=True, eq=False, kw_only=True)
class BatchGroup:
    """Problems and learning rates that are trained as one batch, or as one batch in each round.

    Attributes:
        members: what is trained.
        lanes: how many trials a batch has room for.
        kind: the workers that it was made for.
        memory_bytes: memory of the workers that may take it; 0 where all workers are alike.
        rank_group: the group of ranks that trains it; None where one worker does.
    """

    members: tuple[Member, ...]
    lanes: int
    kind: WorkerKind
    memory_bytes: float
    rank_group: RankGroup | None

    @property
    def trials_per_search(self) -> int:
        """How many trials each member may have in a batch: a search two, where there is room for a second of all."""
        searches = all(rate is None for _, rate in self.members)
        return 2 if searches and 2 * len(self.members) <= self.lanes else 1

    @property
    def most_trials(self) -> int:
        """How many trials its batch may have."""
        return self.trials_per_search * len(self.members)

    @functools.cached_property
    def problems(self) -> tuple[Problem, ...]:
        """Its problems, each once, in order."""
        return tuple({problem.key: problem for problem, _ in self.members}.values())

    @functools.cached_property
    def batch(self) -> str:
        """The name of its batch."""
        return batch_id((problem.key, rate) for problem, rate in self.members)


def batch_groups(
    problems: Iterable[Problem],
    learning_rates: Sequence[float],
    room: Callable[[Problem, WorkerKind], int],
    kinds: Sequence[WorkerKind],
    rank_groups: Mapping[tuple[object, ...], RankGroup] = MappingProxyType({}),
) -> Iterator[BatchGroup]:
    """All batch groups of a plan.

    Where there are several kinds of workers, each gets a share of what is alike: as many trials as its workers hold at
    a time.

    Args:
        problems: in the order of the sweep.
        learning_rates: given ones; empty for a search.
        room: how many trials of a problem a worker of a kind has room for; 0 where its memory suffices for none.
        kinds: kinds of workers, least memory first.
        rank_groups: the groups of ranks that train what fits no worker, by `Problem.training_config`.
    """
    alike: dict[tuple[object, ...], list[Member]] = {}
    rates: Sequence[float | None] = learning_rates or (None,)
    for problem in problems:
        alike.setdefault(problem.training_config, []).extend((problem, rate) for rate in rates)
    for config, members in alike.items():
        for kind, lanes, some in _shared_out(members, room, kinds):
            searches = GPU_SEARCHES if kind.on_gpu else MAX_SEARCHES
            most = min(MAX_LANES if learning_rates else searches, lanes)
            size = math.ceil(len(some) / math.ceil(len(some) / most))
            for start in range(0, len(some), size):
                yield BatchGroup(
                    members=tuple(some[start : start + size]),
                    lanes=lanes,
                    kind=kind,
                    memory_bytes=kind.memory_bytes if len(kinds) > 1 else 0.0,
                    rank_group=rank_groups.get(config),
                )


def _shared_out(
    members: Sequence[Member], room: Callable[[Problem, WorkerKind], int], kinds: Sequence[WorkerKind]
) -> Iterator[tuple[WorkerKind, int, Sequence[Member]]]:
    """Each kind of workers, the trials that one of them holds, and its share of the members."""
    # The longest prompt's room decides: all lanes are padded to it.
    rooms = [min(room(problem, kind) for problem, _ in members) for kind in kinds]
    usable = [(kind, lanes) for kind, lanes in zip(kinds, rooms, strict=True) if lanes >= 1]
    if not usable:  # predictions are rough: the largest worker tries
        usable = [(max(kinds, key=lambda kind: kind.memory_bytes), 1)]
    total = sum(kind.count * lanes for kind, lanes in usable)
    begin, held = 0, 0
    for kind, lanes in usable:
        held += kind.count * lanes
        end = round(len(members) * held / total)
        if end > begin:
            yield kind, lanes, members[begin:end]
        begin = end
