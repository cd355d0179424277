"""The optimizer step of all lanes: torch's own formulas, one row a lane, each lane at its own learning rate.

`LANE_OPTIMIZERS` has the optimizers that lanes support. The reference engine trains trials under any other.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from phantom_dist.core.trial import Optimizer
from phantom_dist.engines.lanes.lane_buffers import select_rows


class LaneOptimizer(ABC):
    """An optimizer over rows of values and gradients (capacity, N); all lanes have taken the same number of steps.

    No weight decay applies to the `undecayed` parts of a row.

    It calls torch's functions, not its optimizer objects: one object a lane costs more in Python than the arithmetic of
    a small model.
    """

    def __init__(
        self, settings: Optimizer, values_LN: Tensor, gradients_LN: Tensor, undecayed: Sequence[slice] = ()
    ) -> None:
        self._settings, self._undecayed = settings, undecayed
        self._values_LN, self._gradients_LN = values_LN, gradients_LN
        self._moments_LN = [torch.zeros_like(values_LN) for _ in range(settings.state_size)]
        self._taken = 0

    @torch.no_grad()
    def step(self, rates: Sequence[float]) -> None:
        """One step of the first len(rates) lanes, each at its learning rate."""
        self._update(rates)
        self._taken += 1

    def select(self, index: Sequence[int]) -> None:
        """Replace lane j by lane index[j]."""
        for moment_LN in self._moments_LN if self._taken else ():
            select_rows(moment_LN, index)

    @abstractmethod
    def _update(self, rates: Sequence[float]) -> None:
        """Update the values and the moments of the first len(rates) lanes."""


@final
class LaneAdamW(LaneOptimizer):
    """AdamW, fused where the reference's is: in float32 (see `engines.optimizers`)."""

    def _update(self, rates: Sequence[float]) -> None:
        settings, fused = self._settings, self._values_LN.dtype is torch.float32
        for lane, rate in enumerate(rates):
            kept = [self._values_LN[lane, part].clone() for part in self._undecayed]
            adamw(
                [self._values_LN[lane]],
                [self._gradients_LN[lane]],
                [self._moments_LN[0][lane]],
                [self._moments_LN[1][lane]],
                [],
                [torch.tensor(float(self._taken), device=self._values_LN.device)],
                foreach=False,
                fused=fused,
                amsgrad=False,
                beta1=settings.beta1,
                beta2=settings.beta2,
                lr=rate,
                weight_decay=settings.weight_decay,
                eps=settings.epsilon,
                maximize=False,
            )
            # The kernel has shrunk the whole row to 1 − ηλ: give the rest back.
            for part, before in zip(self._undecayed, kept, strict=True):
                self._values_LN[lane, part].add_(before, alpha=rate * settings.weight_decay)


@final
class LaneSgd(LaneOptimizer):
    """SGD with dampening 0."""

    def _update(self, rates: Sequence[float]) -> None:
        settings, lanes = self._settings, len(rates)
        values_LN, step_LN = self._values_LN[:lanes], self._gradients_LN[:lanes]
        if settings.weight_decay:
            step_LN = step_LN.add(values_LN, alpha=settings.weight_decay)
            for part in self._undecayed:
                step_LN[:, part] = self._gradients_LN[:lanes, part]
        if settings.momentum:
            step_LN = self._moments_LN[0][:lanes].mul_(settings.momentum).add_(step_LN)
        for value_N, step_N, rate in zip(values_LN, step_LN, rates, strict=True):
            value_N.add_(step_N, alpha=-rate)


LANE_OPTIMIZERS: dict[str, type[LaneOptimizer]] = {"sgd": LaneSgd, "adamw": LaneAdamW}
"""The optimizers that lanes support, by name."""
