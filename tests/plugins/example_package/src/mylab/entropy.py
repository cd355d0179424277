"""How spread the predicted distribution is: H = −Σ p ln p, and the share of H that is neither target nor competitor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from phantom_dist.core.quantities import Quantity
from phantom_dist.instruments.plugin_instruments import Instrument, Readout


class Entropy(Instrument):
    """Entropy of p, in nats."""

    columns: ClassVar[tuple[Quantity, ...]] = (
        Quantity(
            name="entropy", type="float64", unit="nat", symbol="H", description="-sum_i p_i ln p_i", low=0
        ),
        Quantity(
            name="bulk_share",
            type="float64",
            unit="1",
            description="share of H from words that are neither target nor competitor; NaN at step 0",
            low=0,
            high=1,
        ),
    )

    def measure(self, readout: Readout) -> Mapping[str, Tensor]:
        parts_LV = torch.special.entr(readout.probabilities_LV)
        entropy_L = parts_LV.sum(-1)
        pair_L2 = torch.stack([readout.target_L, readout.competitor_L], dim=-1)
        share_L = 1 - parts_LV.gather(-1, pair_L2).sum(-1) / entropy_L
        if readout.step == 0:
            share_L = torch.full_like(share_L, torch.nan)
        return {"entropy": entropy_L, "bulk_share": share_L}
