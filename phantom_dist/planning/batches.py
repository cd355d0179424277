"""Packs trials into batches. This depends on the plan only, so results don't depend on the number of workers.

Trials that can be lanes of one batch (same model, method, optimizer and steps: `Problem.lanes_config`) form batch
groups, in the order of the sweep and as large as the memory of a kind of workers allows. A group with given learning
rates is one batch. A group of searches is one batch per round: once all trials of a round are done, the searches choose
the next ones.

With a training set one training serves all watched contexts, so it is trainings that are packed: each is a lane with a
trial for every context. The searches of a training's contexts are a group of their own; each round of it may have
several batches.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from phantom_dist.core.trial import Problem
from phantom_dist.planning.sizes import GPU_SEARCHES, MAX_LANES, MAX_SEARCHES
from phantom_dist.scheduling.rank_group import RankGroup
from phantom_dist.scheduling.tasks import batch_id
from phantom_dist.scheduling.worker_kind import WorkerKind

Member = tuple[Problem, float | None]
"""A problem and its learning rate; None if a search chooses it."""


@dataclass(frozen=True, eq=False, kw_only=True)
class BatchGroup:
    """Problems and learning rates that are trained as one batch, or as one batch per round.

    Attributes:
        members: its problems and learning rates.
        lanes: how many trials a batch can hold.
        kind: the workers for which it was packed.
        memory_bytes: memory of the workers that may take it; 0 if there is only one kind.
        rank_group: the group of ranks that trains it; None for a single worker.
    """

    members: tuple[Member, ...]
    lanes: int
    kind: WorkerKind
    memory_bytes: float
    rank_group: RankGroup | None

    @property
    def is_shared_search(self) -> bool:
        """Whether its members are the searches of contexts that share their trainings."""
        return self.members[0][1] is None and self.members[0][0].training is not None

    @property
    def trainings(self) -> int:
        """The largest number of trainings in one of its batches: lanes, or trials one after another."""
        if self.members[0][0].training is None:
            return self.most_trials
        if self.is_shared_search:
            return self.lanes
        return len({problem.training_at(rate) for problem, rate in self.members})

    @property
    def trials_per_search(self) -> int:
        """How many trials each member may have in a batch: two for searches if the batch can hold them, else one."""
        searches = all(rate is None for _, rate in self.members)
        return 2 if searches and 2 * len(self.members) <= self.lanes else 1

    @property
    def most_trials(self) -> int:
        """The largest number of trials in its batch."""
        return self.trials_per_search * len(self.members)

    @functools.cached_property
    def problems(self) -> tuple[Problem, ...]:
        """Its problems in order, without repetition."""
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
    group_of: Callable[[Problem], RankGroup | None] = lambda _: None,
) -> Iterator[BatchGroup]:
    """All batch groups of a plan.

    If there are several kinds of workers, each gets a share of the trials in proportion to how many of them its workers
    can hold at the same time.

    Args:
        problems: in the order of the sweep.
        learning_rates: the given learning rates; empty for searches.
        room: how many trials of a problem a worker of a kind can hold; 0 if its memory doesn't suffice for one.
        kinds: kinds of workers, least memory first.
        group_of: the group of ranks for a problem that doesn't fit a single worker; None for others.
    """
    by_config: dict[tuple[RankGroup | None, object], list[Member]] = {}
    rates: Sequence[float | None] = learning_rates or (None,)
    for problem in problems:
        group = group_of(problem)
        config = problem.lanes_config if group is None or group.lanes else problem.training_config
        by_config.setdefault((group, config), []).extend((problem, rate) for rate in rates)
    for (group, _), members in by_config.items():
        units = _units(members)
        is_shared_search = members[0][0].training is not None and not learning_rates
        for kind, lanes, share in _shares(units, room, kinds):
            searches = GPU_SEARCHES if kind.on_gpu else MAX_SEARCHES
            ranks = group.ranks if group is not None and group.lanes else 1
            most = min(ranks * (MAX_LANES if learning_rates else searches), lanes)
            # As few groups as possible, of nearly equal size.
            size = 1 if is_shared_search else math.ceil(len(share) / math.ceil(len(share) / most))
            for start in range(0, len(share), size):
                yield BatchGroup(
                    members=tuple(member for unit in share[start : start + size] for member in unit),
                    lanes=lanes,
                    kind=kind,
                    memory_bytes=kind.memory_bytes if len(kinds) > 1 else 0.0,
                    rank_group=group,
                )


def _units(members: Sequence[Member]) -> list[tuple[Member, ...]]:
    """The members by the training that they share; each alone without a training set."""
    units: dict[object, list[Member]] = {}
    for problem, rate in members:
        units.setdefault(problem.training_at(rate), []).append((problem, rate))
    return [tuple(unit) for unit in units.values()]


def _shares(
    units: Sequence[tuple[Member, ...]],
    room: Callable[[Problem, WorkerKind], int],
    kinds: Sequence[WorkerKind],
) -> Iterator[tuple[WorkerKind, int, Sequence[tuple[Member, ...]]]]:
    """Each kind of workers, how many lanes one of them can hold, and its share of the units."""
    # The longest prompt decides, because all lanes are padded to it.
    rooms = [min(room(problem, kind) for unit in units for problem, _ in unit) for kind in kinds]
    usable = [(kind, lanes) for kind, lanes in zip(kinds, rooms, strict=True) if lanes >= 1]
    if not usable:  # predictions of memory are rough, so the largest worker tries
        usable = [(max(kinds, key=lambda kind: kind.memory_bytes), 1)]
    total = sum(kind.count * lanes for kind, lanes in usable)
    begin, capacity = 0, 0
    for kind, lanes in usable:
        capacity += kind.count * lanes
        end = round(len(units) * capacity / total)
        if end > begin:
            yield kind, lanes, units[begin:end]
        begin = end
