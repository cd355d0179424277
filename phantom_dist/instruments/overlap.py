"""Overlaps of readout rows: S_ij = ê_i · ê_j with ê_i = E_i / ‖E_i‖, dimensionless, in [-1, 1].

Only the overlap rows of two tokens are ever computed, by two products with E (V x d) and the row norms; never V x V.
"""

from __future__ import annotations

import torch
from torch import Tensor


def overlap_rows(readout_Vd: Tensor, tokens: tuple[int, ...]) -> Tensor:
    """S_k· for each token k: shape (len(tokens), V), float64, clamped to [-1, 1] against rounding.

    Accumulates in the matrix's own precision (at least float32). A row of zeros has overlap 0 with every other.
    """
    tokens_k = torch.tensor(tokens, device=readout_Vd.device)
    return pair_rows(readout_Vd, tokens_k[None], row_norms(readout_Vd)).squeeze(0)


def pair_rows(readout_Vd: Tensor, tokens_Lk: Tensor, norms_V: Tensor) -> Tensor:
    """`overlap_rows` of several pairs: tokens (L, k) -> (L, k, V). `norms_V`: see `row_norms`."""
    readout_Vd = _accumulating(readout_Vd)
    products_LkV = (readout_Vd[tokens_Lk.flatten()] @ readout_Vd.T).unflatten(0, tokens_Lk.shape)
    return overlaps(products_LkV, norms_V.expand(len(tokens_Lk), -1), tokens_Lk)


def row_norms(readout_Vd: Tensor) -> Tensor:
    """‖E_i‖ of every row; shape (V,)."""
    norms_V: Tensor = torch.linalg.vector_norm(_accumulating(readout_Vd), dim=1)
    return norms_V


def _accumulating(readout_Vd: Tensor) -> Tensor:
    readout_Vd = readout_Vd.detach()
    return readout_Vd.float() if readout_Vd.dtype.itemsize < 4 else readout_Vd


def overlaps(products_kV: Tensor, norms_V: Tensor, tokens_k: Tensor) -> Tensor:
    """S_k· from the products E_k · E_i (..., k, V), the rows' norms ‖E_i‖ (..., V) and the tokens k (..., k).

    Shape (..., k, V), float64, clamped to [-1, 1]. A row of zeros has overlap 0 with every other.
    """
    norms_V = norms_V.clamp_min(torch.finfo(norms_V.dtype).tiny)
    norms_k = norms_V.gather(-1, tokens_k)
    rows_kV = (products_kV / norms_k.unsqueeze(-1) / norms_V.unsqueeze(-2)).double().clamp(-1.0, 1.0)
    # Rounding makes S_tc and S_ct differ; using their mean for both keeps Φ = σ + δ exact.
    columns = tokens_k.unsqueeze(-2).expand(*rows_kV.shape[:-1], tokens_k.shape[-1])
    pairs_kk = rows_kV.gather(-1, columns)
    pairs_kk = (pairs_kk + pairs_kk.mT) / 2
    pairs_kk.diagonal(dim1=-2, dim2=-1).fill_(1.0)
    return rows_kV.scatter(-1, columns, pairs_kk)


def centred_overlap_row(readout_Vd: Tensor, token: int) -> Tensor:
    """Overlaps of one token after the mean row is subtracted from E and rows are renormalised; shape (V,), float64.

    Centring removes the direction that all rows of an anisotropic embedding share: in SmolLM2 the mean overlap of
    random pairs is 0.44 before it and 0.00 after it.
    """
    centred_Vd = readout_Vd.detach().float()
    return overlap_rows(centred_Vd - centred_Vd.mean(dim=0), (token,))[0]


def row_rms(row_V: Tensor, token: int) -> float:
    """Root mean square of an overlap row without the token's overlap with itself; dimensionless."""
    return float(((row_V.square().sum() - row_V[token].square()) / (row_V.numel() - 1)).clamp_min(0).sqrt())
