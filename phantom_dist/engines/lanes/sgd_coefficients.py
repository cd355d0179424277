"""SGD as linear algebra: after s steps θ_s = a θ_0 + Σ_{r<s} c_r g_r, with numbers that don't depend on the gradients.

torch's SGD with weight decay λ, momentum μ and dampening 0: g' = g + λ θ, b = μ b + g', θ = θ - η b. With λ = 0 and a
constant rate, a = 1 and c_r = -η Σ_{j<s-r} μ^j. Irie, Csordás, Schmidhuber (ICML 2022, arXiv 2202.05798) give the
identity for gradient descent; momentum and decay are the same recurrence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from phantom_dist.core.trial import Optimizer


class Coefficients(Protocol):
    """The points of all lanes: a θ_0 + Σ c_r g_r."""

    @property
    def decays(self) -> bool:
        """Whether a can differ from 1."""
        ...

    @property
    def start(self) -> Tensor:
        """a of each lane; (L,)."""
        ...

    @property
    def gradients(self) -> Tensor:
        """c_r of each lane and each step so far; (L, s)."""
        ...

    def clip(self, scales: Sequence[float]) -> None:
        """Multiply the next update's gradient by a number for each lane."""
        ...

    def update(self, rates: Sequence[float]) -> None:
        """One step of each lane at its learning rate."""
        ...

    def select(self, index: Sequence[int]) -> None:
        """Replace lane j by lane index[j]."""
        ...


class SgdCoefficients:
    """The coefficients of every lane under SGD, float64: column 0 for θ_0, column r + 1 for the gradient of step r.

    Raises:
        ValueError: the optimizer is not SGD.
    """

    def __init__(self, optimizer: Optimizer, lanes: int, steps: int) -> None:
        if optimizer.name != "sgd":
            raise ValueError(f"the steps of {optimizer.name} are not linear in the gradients")
        self._optimizer = optimizer
        self._theta = torch.zeros(lanes, steps + 1, dtype=torch.float64)
        self._buffer = torch.zeros_like(self._theta)
        self._theta[:, 0] = 1.0
        self._steps = 0
        self._scales: Sequence[float] | None = None

    @property
    def decays(self) -> bool:
        """Whether there is weight decay."""
        return self._optimizer.weight_decay > 0

    @property
    def start(self) -> Tensor:
        """a of each lane; (L,)."""
        return self._theta[:, 0]

    @property
    def gradients(self) -> Tensor:
        """c_r of each lane and each step so far; (L, s)."""
        return self._theta[:, 1 : self._steps + 1]

    def update(self, rates: Sequence[float]) -> None:
        """One step of each lane at its learning rate."""
        # g' = λ θ + g_s, with g_s scaled where it is clipped; b = μ b + g', θ = θ − η b. Each is a vector of
        # coefficients of θ_0, g_0, …, g_s.
        gradient = self._optimizer.weight_decay * self._theta
        self._steps += 1
        gradient[:, self._steps] += (
            1.0 if self._scales is None else torch.tensor(self._scales, dtype=torch.float64)
        )
        self._scales = None
        self._buffer = self._optimizer.momentum * self._buffer + gradient
        self._theta = self._theta - torch.tensor(rates, dtype=torch.float64)[:, None] * self._buffer

    def clip(self, scales: Sequence[float]) -> None:
        """Multiply the next update's gradient by a number for each lane."""
        self._scales = scales

    def select(self, index: Sequence[int]) -> None:
        """Replace lane j by lane index[j]."""
        self._theta, self._buffer = self._theta[list(index)], self._buffer[list(index)]
