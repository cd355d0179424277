"""The `Lockstep` of the ranks of a group."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
import torch.distributed as dist

from phantom_dist.engines.deepspeed_group.sharded_matrix import Gathering, ShardedMatrix, ShardedReadoutMatrix

T = TypeVar("T")


class GroupLockstep:
    """A `lockstep.Lockstep`, on one rank.

    Args:
        gathering: what this rank gathers.
        embedding: whose rows are looked up.
        readout: E, which may be the same matrix.
    """

    def __init__(self, gathering: Gathering, embedding: ShardedMatrix, readout: ShardedReadoutMatrix) -> None:
        self._gathering, self._embedding, self._readout = gathering, embedding, readout
        self._measurement: tuple[ShardedMatrix, ...] | None = None

    @property
    def ranks(self) -> int:
        """See `Lockstep`."""
        return self._gathering.ranks

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """See `Lockstep`: one run of items for each rank, as equal as possible."""
        rank, ranks, count = self._gathering.rank, self.ranks, len(items)
        return items[rank * count // ranks : (rank + 1) * count // ranks]

    def all_shares(self, own: Sequence[T]) -> list[T]:
        """See `Lockstep`; the end of a batch."""
        shares: list[Sequence[T]] = [()] * self.ranks
        dist.all_gather_object(shares, own)
        self._gathering.passes = None
        return [item for share in shares for item in share]

    def largest(self, number: int) -> int:
        """See `Lockstep`."""
        return max(self._all([number]))[0]

    def begin(self, read: Iterable[int], compared: Iterable[int]) -> None:
        """See `Lockstep`; every rank gets what any of them needs."""
        needed: list[tuple[set[int], set[int]]] = [(set(), set())] * self.ranks
        own = set(compared)
        dist.all_gather_object(needed, (set(read), own))
        all_read, all_compared = (set().union(*tokens) for tokens in zip(*needed, strict=True))
        for table in dict.fromkeys((self._embedding, self._readout)):
            table.learn(all_read)
        self._readout.compare(all_compared, own)
        self._measurement = None
        self._gathering.passes = []

    def any(self, here: bool) -> bool:
        """See `Lockstep`.

        Raises:
            RuntimeError: the ranks have gathered different matrices since the last call.
        """
        passes = self._gathering.passes or []
        if self._measurement is None:
            self._measurement = tuple(passes)
        digest = hashlib.sha256(repr([matrix.number for matrix in passes]).encode()).digest()
        self._gathering.passes = []
        answers = self._all([int(here), int.from_bytes(digest[:7])])
        if len({digest for _, digest in answers}) > 1:
            raise RuntimeError(
                "the ranks of a group gathered different matrices, so no product can be trusted"
            )
        return any(there for there, _ in answers)

    def accompany(self, passes: int, following: Iterable[tuple[bool, int]]) -> None:
        """See `Lockstep`."""
        learnt, measurement = tuple(self._gathering.passes or ()), self._measurement or ()
        one_pass = learnt[: len(learnt) // passes]
        for measures, count in following:
            _gather(measurement if measures else ())
            if not self.any(False):
                return
            for _ in range(count):
                _gather(one_pass)

    def _all(self, numbers: list[int]) -> list[list[int]]:
        """Every rank's numbers."""
        own = torch.tensor(numbers, device=self._readout.own_ci.device)
        parts = [torch.empty_like(own) for _ in range(self.ranks)]
        dist.all_gather(parts, own)
        return [part.tolist() for part in parts]


def _gather(matrices: Iterable[ShardedMatrix]) -> None:
    for matrix in matrices:
        matrix.gather()
