"""`Coordinates` of a model under full fine-tuning, along the gradients computed so far.

The vector m stands for the point θ_0 − Σ_r m_r G_r, where G_r is the r-th gradient; as a vector G_r is the r-th unit
vector. No G_r is ever materialised: the dual form (`dual`) computes logits at such points, and ⟨G_r, G_s⟩ from the
factors of both. A vector of `coordinates.ParameterCoordinates` has N numbers, one here has as many as there are
gradients.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from phantom_dist.core.tokens import Tokens
from phantom_dist.core.trial import Problem
from phantom_dist.engines.lanes.dual import Dual
from phantom_dist.engines.lanes.fuse import Positions, fused, lane_logits, padded
from phantom_dist.engines.lanes.isolation import check
from phantom_dist.engines.lanes.kind import Shape
from phantom_dist.engines.lanes.parameters import LaneTensor
from phantom_dist.engines.lanes.support import GRADIENTS
from phantom_dist.engines.objective import gap_of, loss_of
from phantom_dist.engines.trainable import readout_matrix
from phantom_dist.models.load import LoadedModel


@contextmanager
def dual_coordinates(
    loaded: LoadedModel, problem: Problem, prompt: tuple[int, ...]
) -> Iterator[DualCoordinates]:
    """Coordinates around the untouched model; restores the model on exit.

    Raises:
        NotFusable: the model can't be trained as lanes.
    """
    check(loaded, problem, "dual", lanes=1)
    point = _PointCoefficients()
    shape = Shape(first=1, lanes=1, steps=GRADIENTS, tokens=len(prompt))
    lanes = Dual(problem.optimizer, shape, readout_matrix(loaded.model), point)
    with fused(loaded.model, lanes) as last:
        yield DualCoordinates(loaded, prompt, lanes, last, point)


class _PointCoefficients:
    """A `sgd_coefficients.Coefficients` of one lane whose coefficients are set from outside, to any point."""

    decays = False

    def __init__(self) -> None:
        self.start = torch.ones(1, dtype=torch.float64)
        self.gradients = torch.zeros(1, 0, dtype=torch.float64)

    def update(self, rates: Sequence[float]) -> None:
        """A no-op: `DualCoordinates.logits` sets the coefficients."""

    def clip(self, scales: Sequence[float]) -> None:
        """Never called: `dual_pays` leaves clipped problems to `ParameterCoordinates`."""
        raise NotImplementedError

    def select(self, index: Sequence[int]) -> None:
        """A no-op: there is one lane."""


class DualCoordinates:
    """See `coordinates.Coordinates`; for single tokens. Vectors have `GRADIENTS` numbers, float64, on the CPU."""

    def __init__(
        self,
        loaded: LoadedModel,
        prompt: tuple[int, ...],
        lanes: Dual,
        last: Positions,
        point: _PointCoefficients,
    ) -> None:
        self.origin = torch.zeros(GRADIENTS, dtype=torch.float64)
        self._model, self._lanes, self._last, self._point = loaded.model, lanes, last, point
        self._ids_1K, self._last_1 = padded([prompt], lanes.readout.device)
        self._products = torch.zeros(GRADIENTS, GRADIENTS, dtype=torch.float64)
        self._untouched: dict[LaneTensor, Tensor] = {}
        self._own: list[
            dict[LaneTensor, Tensor]
        ] = []  # of each gradient, the parts that the tape doesn't keep

    def untouched_logits(self) -> Tensor:
        """See `Coordinates`."""
        return self.logits(self.origin)

    @property
    def decaying(self) -> Tensor:
        """See `Coordinates`; `dual_pays` leaves problems with weight decay to `ParameterCoordinates`."""
        return self.origin

    def logits(self, moved: Tensor) -> Tensor:
        """See `Coordinates`."""
        count = len(self._own)
        self._point.gradients = -moved[None, :count]
        self._lanes.begin_step(count, learns=torch.is_grad_enabled())
        if count:
            self._move_own(moved[:count].tolist())
        return lane_logits(self._model, self._last, self._ids_1K, self._last_1).float()

    def gradient(self, value: Tensor) -> Tensor:
        """See `Coordinates`."""
        # 1. The backward pass writes G's factors to the tape. Copy the rest (vectors, tables) to `own`.
        value.backward()
        lanes, number = self._lanes, len(self._own)
        lanes.parameters.complete()
        tensors = lanes.parameters.tensors
        if not self._own:  # the first forward pass filled the tables
            self._untouched = {tensor: tensor.value.detach().clone() for tensor in tensors}
        self._own.append({tensor: tensor.gradient.clone() for tensor in tensors})
        # 2. ⟨G, G_s⟩ with itself and all earlier gradients: from the tape's factors, plus the parts in `own`.
        own_1 = [lanes.own_products(step, then) for step, then in enumerate(self._own)]
        products = (lanes.tape.products_Ls[0] + torch.cat(own_1)).cpu()
        self._products[number, : number + 1] = self._products[: number + 1, number] = products
        # 3. Close this step of the tape; this gradient is the next unit vector.
        lanes.tape.end_step()
        vector = torch.zeros_like(self.origin)
        vector[number] = 1.0
        return vector

    def new_vector(self) -> Tensor:
        """See `Coordinates`."""
        return torch.empty_like(self.origin)

    def inner(self, a: Tensor, b: Tensor) -> float:
        """See `Coordinates`."""
        return float(a @ self._products @ b)

    def first_order(self, logits_PV: Tensor, pair: Tokens, *, keep: bool) -> tuple[float, Tensor]:
        """See `Coordinates`. The tape allows one gradient per forward pass, so ∇g needs a second forward pass."""
        descent = self.gradient(loss_of(logits_PV[0], pair))
        gap = self.gradient(gap_of(self.untouched_logits()[0], pair))
        return -self.inner(gap, descent), descent

    @torch.no_grad()
    def _move_own(self, moved: list[float]) -> None:
        """Set the tensors without factors to their untouched values − Σ_r m_r times their part of G_r."""
        for tensor, untouched in self._untouched.items():
            tensor.value.copy_(untouched)
            for coefficient, own in zip(moved, self._own, strict=True):
                tensor.value.sub_(own[tensor], alpha=coefficient)
