"""Statistics of all overlaps S_ij of the readout's rows, computed from the d x d Gram matrix only.

Adding one vector to every row changes no probability (softmax ignores a common shift of the logits), but it changes
`mean`, `rms` and `rank`; `centred_rms` and `centred_rank` don't change. The paper claims that the bulk of the overlaps
sorts architectures. We don't know by which statistic: these are candidates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Bulk:
    """Statistics over all pairs i ≠ j of rows, dimensionless.

    Attributes:
        mean: of S_ij, in [-1, 1].
        rms: of S_ij, in [0, 1].
        rank: effective rank over d, in (0, 1]: exp(entropy of the eigenvalues of Σ_i ê_i ê_iᵀ / V) / d (Roy and
            Vetterli, EUSIPCO 2007).
        centred_rms, centred_rank: the same after subtracting the mean row.
    """

    mean: float
    rms: float
    rank: float
    centred_rms: float
    centred_rank: float


def bulk(readout_Vd: Tensor) -> Bulk:
    """The statistics of a readout matrix (V, d), in float64; 2 V d² operations and two d x d eigenproblems."""
    rows_Vd = readout_Vd.detach()
    count = rows_Vd.shape[0]
    gram_dd, mean_d = _gram(rows_Vd, torch.zeros_like(rows_Vd[0]))
    centred_dd, _ = _gram(rows_Vd, rows_Vd.float().mean(0))
    return Bulk(
        mean=(count * float(mean_d @ mean_d) - 1) / (count - 1),
        rms=_rms(gram_dd, count),
        rank=_rank(gram_dd),
        centred_rms=_rms(centred_dd, count),
        centred_rank=_rank(centred_dd),
    )


def _gram(rows_Vd: Tensor, shift_d: Tensor) -> tuple[Tensor, Tensor]:
    """Σ ê ê^T / V and Σ ê / V of the shifted rows; block by block, which avoids a V x d matrix in float64."""
    width = rows_Vd.shape[1]
    gram_dd = torch.zeros(width, width, dtype=torch.float64, device=rows_Vd.device)
    sum_d = torch.zeros(width, dtype=torch.float64, device=rows_Vd.device)
    for block in rows_Vd.split(8192):
        unit = torch.nn.functional.normalize(block.double() - shift_d.double(), dim=1)
        gram_dd += unit.T @ unit
        sum_d += unit.sum(0)
    return gram_dd / rows_Vd.shape[0], sum_d / rows_Vd.shape[0]


def _rms(gram_dd: Tensor, count: int) -> float:
    return math.sqrt(max(0.0, (count * float((gram_dd**2).sum()) - 1) / (count - 1)))


def _rank(gram_dd: Tensor) -> float:
    eigenvalues = torch.linalg.eigvalsh(gram_dd).clamp_min(0)
    shares = eigenvalues / eigenvalues.sum()
    return float(torch.exp(torch.special.entr(shares).sum())) / gram_dd.shape[0]
