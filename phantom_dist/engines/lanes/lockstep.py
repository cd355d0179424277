"""How the ranks of a group that share one sharded model keep step while each trains lanes of its own.

Every forward and backward pass gathers the model's matrices, one after another, which takes all ranks: so all make the
same passes at the same time. A rank whose lanes have ended goes on gathering until the last rank has ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


class Lockstep(Protocol):
    """A process among those that train a batch together."""

    @property
    def ranks(self) -> int:
        """How many."""
        ...

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This process's part of what all train; empty if there is less than one for each."""
        ...

    def all_shares(self, own: Sequence[T]) -> list[T]:
        """What all processes have, in the order of `share`."""
        ...

    def largest(self, number: int) -> int:
        """The largest of the processes' numbers."""
        ...

    def begin(self, read: Iterable[int], compared: Iterable[int]) -> None:
        """Called before the first pass of a batch.

        Args:
            read: the tokens whose embedding rows, or readout rows, this process will look up.
            compared: the tokens whose overlaps with all others it will measure on the untouched readout.
        """
        ...

    def any(self, here: bool) -> bool:
        """Whether it is true in any process. Called once a step, between what is measured and what is learnt."""
        ...

    def accompany(self, passes: int, following: Iterable[tuple[bool, int]]) -> None:
        """Take part in the other processes' passes until none is left, after the backward pass of the last own step.

        Args:
            passes: how many passes, forward and backward, that step learnt from.
            following: for each later step, whether it begins with a measurement, and how many passes it learns from.
        """
        ...


class Alone:
    """The `Lockstep` of a process that has the whole model."""

    ranks = 1

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """See `Lockstep`."""
        return items

    def all_shares(self, own: Sequence[T]) -> list[T]:
        """See `Lockstep`."""
        return list(own)

    def largest(self, number: int) -> int:
        """See `Lockstep`."""
        return number

    def begin(self, read: Iterable[int], compared: Iterable[int]) -> None:
        """A no-op: this process has the whole model."""

    def any(self, here: bool) -> bool:
        """See `Lockstep`."""
        return here

    def accompany(self, passes: int, following: Iterable[tuple[bool, int]]) -> None:
        """A no-op: no other process needs this one."""
