"""A frozen weight matrix in shards, one on each rank: gathered for each product, block by block, and never kept.

Rank r holds the r-th of N equal runs of rows, the last one padded with zeros. A product is collective: all ranks take
it at the same time, each with activations of its own. The floor of what a rank receives is (N - 1) / N of the matrix
for each pass, forward or backward, whatever the number of lanes; nothing is sent back. CPU ranks of one machine read
each other's shards in place (`shared_pages`), and receive nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

from phantom_dist.engines.deepspeed_group.readout import ShardedReadout
from phantom_dist.engines.recorder import Geometry

BLOCK = 4_000_000
"""Entries to gather at a time: 16 MB in float32."""


COMPARED = 16
"""Tokens whose overlaps all ranks measure at a time."""


class Gathering:
    """What a rank gathers: the one buffer for it, and an account of it.

    `received`: bytes from other ranks so far. `passes`: while lanes are trained, the matrices that were gathered since
    it was emptied, in order; else None. Ranks compare it (`group_lockstep`): one that gathers another matrix would
    compute with wrong numbers.
    """

    def __init__(self, rank: int, ranks: int) -> None:
        self.rank, self.ranks = rank, ranks
        self.received = 0
        self.passes: list[ShardedMatrix] | None = None
        self.matrices = 0
        self._buffer = torch.empty(0)

    def note(self, matrix: ShardedMatrix) -> None:
        """A product with this matrix begins."""
        if self.passes is not None:
            self.passes.append(matrix)

    def gather(self, own_ci: Tensor) -> Tensor:
        """Equal shards of all ranks, (c, i) -> (N, c, i); valid until the next call."""
        size = own_ci.numel() * self.ranks
        if self._buffer.numel() < size or self._buffer.dtype != own_ci.dtype:
            self._buffer = own_ci.new_empty(size)
        block_Nci = self._buffer[:size].view(self.ranks, *own_ci.shape)
        if own_ci.is_cuda:
            dist.all_gather_into_tensor(self._buffer[:size], own_ci)
        else:
            # gloo sends a broadcast at twice the speed of an all-gather (0.9 against 0.4 GB/s each way on loopback).
            block_Nci[self.rank] = own_ci
            for source in range(self.ranks):
                dist.broadcast(block_Nci[source], source)
        self.received += (size - own_ci.numel()) * own_ci.itemsize
        return block_Nci


class ShardedMatrix:
    """A `FrozenMatrix` of which this process holds the rows from `rank` · c on; c = ⌈o / N⌉.

    Args:
        own_ci: this rank's rows, padded with zeros to c.
        rows: o.
        gathering: that of this rank.

    Attributes:
        shards: every rank's (c, i), where this process can read them in place.
    """

    shards: Sequence[Tensor] | None = None

    def __init__(self, own_ci: Tensor, rows: int, gathering: Gathering) -> None:
        self.own_ci, self._gathering = own_ci, gathering
        self.shape = (rows, own_ci.shape[1])
        self.number = gathering.matrices
        gathering.matrices += 1
        self._known_ki = own_ci.new_empty(0, own_ci.shape[1])
        self._place_of_o: Tensor | None = None
        self._squared_norms_o: Tensor | None = None

    def times(self, x: Tensor) -> Tensor:
        """See `FrozenMatrix`."""
        own = len(self.own_ci)
        if self.shards is not None:
            self._gathering.note(self)
            parts = zip(x.split(own, dim=-1), self.shards, strict=False)
            products = [x_part @ shard_ci[: x_part.shape[-1]] for x_part, shard_ci in parts]
            total: Tensor = functools.reduce(Tensor.add_, products)
            return total
        padded = self._gathering.ranks * own
        x = torch.nn.functional.pad(x, (0, padded - self.shape[0])) if padded > self.shape[0] else x
        x_Nc = x.unflatten(-1, (self._gathering.ranks, own))
        y = x.new_zeros(0)
        for start, block_Nci in self._blocks():
            part = x_Nc[..., start : start + block_Nci.shape[1]].flatten(-2) @ block_Nci.flatten(0, 1)
            y = part if start == 0 else y.add_(part)
        return y

    def times_transposed(self, x: Tensor) -> Tensor:
        """See `FrozenMatrix`."""
        ranks, own = self._gathering.ranks, len(self.own_ci)
        if self.shards is not None:
            self._gathering.note(self)
            products = [torch.nn.functional.linear(x, shard_ci) for shard_ci in self.shards]
            return torch.cat(products, dim=-1)[..., : self.shape[0]]
        y_Nc = x.new_empty(0)
        for start, block_Nci in self._blocks():
            part: Tensor = torch.nn.functional.linear(x, block_Nci.flatten(0, 1))
            if block_Nci.shape[1] == own:
                return part[..., : self.shape[0]]
            if start == 0:
                y_Nc = x.new_empty(*x.shape[:-1], ranks, own)
            y_Nc[..., start : start + block_Nci.shape[1]] = part.unflatten(-1, (ranks, -1))
        return y_Nc.flatten(-2)[..., : self.shape[0]]

    def _blocks(self) -> Iterator[tuple[int, Tensor]]:
        """The matrix block by block: the first row in each shard, and the rows (N, ≤ c, i)."""
        self._gathering.note(self)
        size = max(1, BLOCK // (self._gathering.ranks * self.shape[1]))
        for start in range(0, len(self.own_ci), size):
            yield start, self._gathering.gather(self.own_ci[start : start + size])

    def gather(self) -> None:
        """Take part in a product of the other ranks."""
        if self.shards is not None:
            self._gathering.note(self)
            return
        for _ in self._blocks():
            pass

    def rows(self, ids: Tensor) -> Tensor:
        """See `FrozenMatrix`. Collective where a row isn't known yet: then all ranks ask for the same rows."""
        if self._place_of_o is None or bool((self._place_of_o[ids] < 0).any()):
            self.learn(ids.flatten().tolist())
        assert self._place_of_o is not None
        return self._known_ki[self._place_of_o[ids]]

    def learn(self, ids: Iterable[int]) -> None:
        """Get rows from the ranks that have them; they stay. All ranks ask for the same rows."""
        device = self.own_ci.device
        if self._place_of_o is None:
            self._place_of_o = torch.full((self.shape[0],), -1, device=device)
        unknown = sorted({token for token in ids if self._place_of_o[token] < 0})
        if not unknown:
            return
        ids_k = torch.tensor(unknown, device=device)
        places_k = ids_k - self._gathering.rank * len(self.own_ci)
        is_own_k = (places_k >= 0) & (places_k < len(self.own_ci))
        rows_ki = torch.zeros(len(unknown), self.shape[1], device=device)
        rows_ki[is_own_k] = self.own_ci[places_k[is_own_k]].float()
        dist.all_reduce(rows_ki)
        self._place_of_o[ids_k] = torch.arange(len(unknown), device=device) + len(self._known_ki)
        self._known_ki = torch.cat([self._known_ki, rows_ki.to(self._known_ki.dtype)])

    def squared_row_norms(self) -> Tensor:
        """See `FrozenMatrix`; collective at the first call."""
        if self._squared_norms_o is None:
            own_c = torch.linalg.vector_norm(self.own_ci.float(), dim=1).square()
            parts = [torch.empty_like(own_c) for _ in range(self._gathering.ranks)]
            dist.all_gather(parts, own_c)
            self._squared_norms_o = torch.cat(parts)[: self.shape[0]]
        return self._squared_norms_o


class ShardedReadoutMatrix(ShardedMatrix):
    """The readout matrix E in shards: a `FrozenReadout`."""

    def __init__(self, own_ci: Tensor, rows: int, gathering: Gathering) -> None:
        super().__init__(own_ci, rows, gathering)
        self._view = ShardedReadout(
            lambda: self.own_ci,
            self.shape,
            gathering.rank,
            gathering.ranks,
            frozen=True,
            run=own_ci.numel(),
        )
        self.squared_row_norms()
        self._hash = self._view.hash()
        self._own_hash = self._view.own_hash()
        self._overlaps: dict[int, Tensor] = {}

    @property
    def width(self) -> int:
        """See `probe.ReadoutMatrix`."""
        return self.shape[1]

    def centred_overlap_row(self, token: int) -> Tensor:
        """See `probe.ReadoutMatrix`; collective."""
        return self._view.centred_overlap_row(token)

    def token_overlap_rows(self, tokens: tuple[int, ...]) -> Tensor:
        """See `probe.ReadoutMatrix`; collective."""
        return self._view.token_overlap_rows(tokens)

    def compare(self, tokens: Collection[int], own: Collection[int]) -> None:
        """Measure the overlaps of tokens with all others; collective.

        Args:
            tokens: those of all ranks.
            own: this rank's, whose overlaps are kept until the next call.
        """
        self._overlaps.clear()
        ordered = sorted(tokens)
        for start in range(0, len(ordered), COMPARED):
            part = tuple(ordered[start : start + COMPARED])
            rows = zip(part, self._view.token_overlap_rows(part), strict=True)
            self._overlaps |= {token: row_V.clone() for token, row_V in rows if token in own}

    def geometry(self) -> Geometry:
        """See `FrozenReadout`; for the tokens of `compare`."""
        return self

    # -- see `recorder.Geometry` --------------------------------------------------------------------------------------

    frozen = True

    def watch(self, pairs_L2: Tensor) -> None:
        """A no-op: overlaps are measured once."""

    def overlap_rows(self, pairs_L2: Tensor, lanes: slice) -> Tensor:
        """See `recorder.Geometry`."""
        pairs = [torch.stack([self._overlaps[token] for token in pair]) for pair in pairs_L2.tolist()]
        return torch.stack(pairs)

    def drift(self) -> Sequence[float]:
        """Never called: this matrix is frozen."""
        raise NotImplementedError

    def hash(self) -> str:
        """The whole matrix's hash.

        Raises:
            RuntimeError: this rank's shard has changed, so the group's task fails.
        """
        if self._view.own_hash() != self._own_hash:
            raise RuntimeError("the bytes of this rank's shard of the frozen readout matrix changed")
        return self._hash
