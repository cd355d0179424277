"""How far the readout matrix moved: ‖E_s - E_0‖_F / ‖E_0‖_F, and a hash of its bytes where it must not move."""

from __future__ import annotations

import torch
import xxhash
from torch import Tensor


def embedding_drift(readout_Vd: Tensor, initial_Vd: Tensor) -> float:
    """Relative Frobenius distance, dimensionless, at least 0."""
    distance = torch.linalg.vector_norm((readout_Vd.detach() - initial_Vd).float())
    return float(distance / torch.linalg.vector_norm(initial_Vd.float()))


def readout_hash(readout_Vd: Tensor) -> str:
    """xxh3-128 of the matrix's bytes, 32 hex digits: equal exactly when the matrix is bit-identical.

    Not a cryptographic hash: it guards against change, not against an adversary, and runs at memory speed.
    """
    contiguous = readout_Vd.detach().contiguous().cpu()
    return xxhash.xxh3_128_hexdigest(contiguous.view(torch.uint8).numpy().data)
