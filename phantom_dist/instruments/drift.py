"""How far the readout matrix moved: ‖E_s - E_0‖_F / ‖E_0‖_F; and a hash of its bytes, for where it must not change."""

from __future__ import annotations

import torch
import xxhash
from torch import Tensor


def embedding_drift(readout_Vd: Tensor, initial_Vd: Tensor) -> float:
    """Relative Frobenius distance, dimensionless, at least 0."""
    return embedding_drifts(readout_Vd.detach()[None], initial_Vd)[0]


def embedding_drifts(readouts_LVd: Tensor, initial_Vd: Tensor) -> list[float]:
    """The same for several matrices, one after another: all differences at once would need a copy of all matrices."""
    initial_Vd = initial_Vd.float()
    distances_L = torch.stack([torch.dist(readout_Vd.float(), initial_Vd) for readout_Vd in readouts_LVd])
    drifts: list[float] = (distances_L / torch.linalg.vector_norm(initial_Vd)).tolist()
    return drifts


def readout_hash(readout_Vd: Tensor) -> str:
    """xxh3-128 of the matrix's bytes, 32 hex digits: equal exactly when the matrix is bit-identical.

    The hash is not cryptographic: it detects accidental changes, not an adversary's, and runs at memory speed.
    """
    contiguous = readout_Vd.detach().contiguous().cpu()
    return xxhash.xxh3_128_hexdigest(contiguous.view(torch.uint8).numpy().data)


class ReadoutHash:
    """`readout_hash` of one matrix, for repeated calls.

    Args:
        readout_Vd: the matrix, by reference: each call hashes its current bytes.
        compares: keep a copy, and hash again only if the bytes differ from it; None means yes on a GPU. There, reading
            E twice takes a hundredth of the time of copying it to the CPU to hash it.
    """

    def __init__(self, readout_Vd: Tensor, *, compares: bool | None = None) -> None:
        self._readout_Vd = readout_Vd.detach()
        self._compares = self._readout_Vd.is_cuda if compares is None else compares
        self._hashed_Vd: Tensor | None = None
        self._hash = ""

    def __call__(self) -> str:
        """The hash of the matrix as it is now."""
        if self._hashed_Vd is None or not _same_bytes(self._hashed_Vd, self._readout_Vd):
            self._hash = readout_hash(self._readout_Vd)
            self._hashed_Vd = self._readout_Vd.clone() if self._compares else None
        return self._hash


def _same_bytes(a_Vd: Tensor, b_Vd: Tensor) -> bool:
    """Compare as integers: 0 and -0 differ, and a NaN is equal to itself."""
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[a_Vd.itemsize]
    return torch.equal(a_Vd.view(whole), b_Vd.view(whole))
