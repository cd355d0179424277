"""How far the readout matrix moved: ‖E_s - E_0‖_F / ‖E_0‖_F, and a hash of its bytes where it must not move."""

from __future__ import annotations

import torch
import xxhash
from torch import Tensor


def embedding_drift(readout_Vd: Tensor, initial_Vd: Tensor) -> float:
    """Relative Frobenius distance, dimensionless, at least 0."""
    return embedding_drifts(readout_Vd.detach()[None], initial_Vd)[0]


def embedding_drifts(readouts_LVd: Tensor, initial_Vd: Tensor) -> list[float]:
    """The same for several matrices, one after another: all differences at once would be a copy of all of them."""
    initial_Vd = initial_Vd.float()
    distances_L = torch.stack([torch.dist(readout_Vd.float(), initial_Vd) for readout_Vd in readouts_LVd])
    drifts: list[float] = (distances_L / torch.linalg.vector_norm(initial_Vd)).tolist()
    return drifts


def readout_hash(readout_Vd: Tensor) -> str:
    """xxh3-128 of the matrix's bytes, 32 hex digits: equal exactly when the matrix is bit-identical.

    Not a cryptographic hash: it guards against change, not against an adversary, and runs at memory speed.
    """
    contiguous = readout_Vd.detach().contiguous().cpu()
    return xxhash.xxh3_128_hexdigest(contiguous.view(torch.uint8).numpy().data)
