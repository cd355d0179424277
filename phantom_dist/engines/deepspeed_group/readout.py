"""The instruments' view of the sharded readout matrix E (V x d).

Rank r holds the r-th of N equal runs of E's entries, row by row, the last one padded. Each rank sums over its part of
a row and the ranks add up their sums, so E is never gathered: ranks exchange the rows of two tokens, 2 d numbers, and
3 V sums. Where E is frozen, the ranks hash its bytes in order once, `CHUNK` entries at a time; after that each rank
compares the hash of its own shard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
import torch.distributed as dist
import xxhash
from torch import Tensor

from phantom_dist.instruments import drift, overlap

CHUNK = 1 << 20
"""Entries of E to process, or send, at a time."""

Piece = tuple[slice, slice, Tensor]
"""Rows and columns of E, and their values, (rows, columns)."""


class ShardedReadout:
    """The readout matrix of a group's model; a `probe.ReadoutMatrix`.

    Args:
        shard: this rank's run of E as it is now, flat, possibly padded at its end.
        shape: (V, d).
        rank, count: this rank's number, and the number of ranks.
        frozen: True where E may not change.
        run: entries of E on each rank, padding included; None for DeepSpeed's.
    """

    def __init__(
        self,
        shard: Callable[[], Tensor],
        shape: tuple[int, int],
        rank: int,
        count: int,
        *,
        frozen: bool,
        run: int | None = None,
    ) -> None:
        self.frozen = frozen
        self._read, self._shape = shard, shape
        self._rank, self._count = rank, count
        self._run = run_length(shape, count) if run is None else run
        self._initial = None if frozen else self._shard().clone()
        self._hashed: tuple[str, str] | None = None  # this shard's, and the whole matrix's
        self.largest_exchange = 0
        """Entries of the largest tensor that the ranks have exchanged here."""

    @property
    def width(self) -> int:
        """d."""
        return self._shape[1]

    def token_overlap_rows(self, tokens: tuple[int, ...]) -> Tensor:
        """S_k· of each token k, as `instruments.overlap.overlap_rows`."""
        return self._overlaps(tokens, torch.zeros(self.width, device=self._shard().device))

    def centred_overlap_row(self, token: int) -> Tensor:
        """The overlap row of one token of the centred matrix, as `instruments.overlap.centred_overlap_row`."""
        mean_d = torch.zeros(self.width, dtype=torch.float64, device=self._shard().device)
        for _, columns, values in self._pieces(self._shard()):
            mean_d[columns] += values.sum(dim=0, dtype=torch.float64)
        return self._overlaps((token,), (self._sum(mean_d) / self._shape[0]).float())[0]

    def drift(self) -> float:
        """‖E - E_0‖_F / ‖E_0‖_F."""
        assert self._initial is not None
        squares_2 = torch.zeros(2, dtype=torch.float64, device=self._initial.device)
        for now, before in zip(self._shard().split(CHUNK), self._initial.split(CHUNK), strict=True):
            squares_2[0] += (now.float() - before.float()).square().sum(dtype=torch.float64)
            squares_2[1] += before.float().square().sum(dtype=torch.float64)
        moved, size = self._sum(squares_2).sqrt().tolist()
        return float(moved / size)

    def hash(self) -> str:
        """The hash of E's bytes, equal to `instruments.drift.readout_hash` of the whole matrix."""
        # Rehash the whole matrix only if the shard of any rank has changed.
        own = self.own_hash()
        changed = self._hashed is None or self._hashed[0] != own
        if self._sum(torch.tensor([float(changed)], device=self._shard().device)).item():
            self._hashed = own, self._hash_in_order()
        assert self._hashed is not None
        return self._hashed[1]

    def own_hash(self) -> str:
        """The hash of this rank's shard."""
        return drift.readout_hash(self._shard())

    def _hash_in_order(self) -> str:
        """Every rank hashes all of E: each rank in turn broadcasts its shard, chunk by chunk."""
        digest = xxhash.xxh3_128()
        shard = self._shard()
        for source in range(self._count):
            for part in range(0, self._length(source), CHUNK):
                size = min(CHUNK, self._length(source) - part)
                if source == self._rank:
                    sent = shard[part : part + size].contiguous()
                else:
                    sent = torch.empty(size, dtype=shard.dtype, device=shard.device)
                self._record_exchange(sent)
                dist.broadcast(sent, source)
                digest.update(sent.detach().cpu().view(torch.uint8).numpy().data)
        return digest.hexdigest()

    def _overlaps(self, tokens: tuple[int, ...], shift_d: Tensor) -> Tensor:
        """Overlap rows of the tokens, in the matrix whose rows are E's minus a shift; shape (k, V)."""
        # 1. The tokens' rows, on every rank.
        shard, k = self._shard(), len(tokens)
        rows_kd = torch.zeros(k, self.width, device=shard.device)
        for rows, columns, values in self._pieces(shard):
            for place, token in enumerate(tokens):
                if rows.start <= token < rows.stop:
                    rows_kd[place, columns] = values[token - rows.start] - shift_d[columns]
        rows_kd = self._sum(rows_kd)
        # 2. Their products with all rows, and the squared norms of all rows.
        sums_V = torch.zeros(k + 1, self._shape[0], dtype=torch.float64, device=shard.device)
        for rows, columns, values in self._pieces(shard):
            values = values - shift_d[columns]
            sums_V[:k, rows] += rows_kd[:, columns] @ values.T
            sums_V[k, rows] += values.square().sum(dim=1)
        sums_V = self._sum(sums_V)
        return overlap.overlaps(sums_V[:k], sums_V[k].sqrt(), torch.tensor(tokens, device=shard.device))

    def _shard(self) -> Tensor:
        """This rank's entries without their padding."""
        return self._read().detach().view(-1)[: self._length(self._rank)]

    def _length(self, rank: int) -> int:
        """Entries of E on a rank, without padding."""
        entries = self._shape[0] * self._shape[1]
        return max(0, min(self._run, entries - rank * self._run))

    def _pieces(self, shard: Tensor) -> Iterator[Piece]:
        """Split the shard into blocks of E: the end of a row, whole rows, the start of a row; float32, ≤ `CHUNK`."""
        width = self.width
        at, end = self._rank * self._run, self._rank * self._run + shard.numel()
        first = at
        while at < end:
            row, column = divmod(at, width)
            if column or end - at < width:
                stop = min(end, (row + 1) * width)
                rows, columns = slice(row, row + 1), slice(column, column + stop - at)
            else:
                count = max(1, min((end - at) // width, CHUNK // width))
                stop = at + count * width
                rows, columns = slice(row, row + count), slice(0, width)
            values = shard[at - first : stop - first].view(rows.stop - rows.start, -1)
            yield rows, columns, values.float()
            at = stop

    def _sum(self, values: Tensor) -> Tensor:
        """The sum over all ranks."""
        self._record_exchange(values)
        dist.all_reduce(values)
        return values

    def _record_exchange(self, exchanged: Tensor) -> None:
        self.largest_exchange = max(self.largest_exchange, exchanged.numel())


class ShardedGeometry:
    """The geometry of a group's one model; as many lanes as it watches contexts."""

    def __init__(self, readout: ShardedReadout, watched: int) -> None:
        self.frozen = readout.frozen
        self._readout, self._watched = readout, watched

    def watch(self, pairs_L2: Tensor) -> None:
        """A no-op: there is one model."""

    def overlap_rows(self, pairs_L2: Tensor, lanes: slice) -> Tensor:
        """See `recorder.Geometry`."""
        tokens = tuple(pairs_L2.flatten().tolist())
        return self._readout.token_overlap_rows(tokens).reshape(len(pairs_L2), 2, -1)

    def drift(self) -> Sequence[float]:
        """See `recorder.Geometry`."""
        return [self._readout.drift()] * self._watched

    def hash(self) -> str:
        """See `recorder.Geometry`."""
        return self._readout.hash()


def run_length(shape: tuple[int, int], count: int) -> int:
    """Entries of E on each of `count` ranks, including the last one's padding."""
    return -(-shape[0] * shape[1] // count)
