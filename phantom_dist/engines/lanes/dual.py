"""Dual lanes: full fine-tuning under SGD without a copy of any matrix per lane.

After s steps of SGD a matrix is W = a W_0 + Σ_{r<s} c_r δ_rᵀ x_r with the inputs x_r (K x i) and output gradients δ_r
(K x o) of each step (`sgd_coefficients` computes a and c_r). So a lane keeps x_r and δ_r instead of W:

    y = a x W_0ᵀ + Σ_r c_r (x x_rᵀ) δ_r,      dx = a δ W_0 + Σ_r c_r (δ δ_rᵀ) x_r

exact up to rounding (Irie, Csordás, Schmidhuber, ICML 2022, arXiv 2202.05798, give the identity). A lane has copies of
its gains and biases, and of the few embedding rows that its prompt looks up.

Memory of a lane in float32: 4 bytes · T · (K · Σ (widths of distinct inputs + of outputs) + 2 V), and the activations
of one backward pass. The sum runs over the model's matrices except the readout; matrices that share an input (query,
key and value; gate and up) share its buffer. SmolLM2-135M with 9 tokens: 9.5 MB a step; a copy of its weights would
take 538 MB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from phantom_dist.core.trial import Optimizer
from phantom_dist.engines.lanes.dual_matrix import DualMatrix
from phantom_dist.engines.lanes.dual_readout import DualReadout, TiedTable
from phantom_dist.engines.lanes.frozen_matrix import Transposed, frozen_matrix
from phantom_dist.engines.lanes.kind import FullLanes, NotFusable, Shape
from phantom_dist.engines.lanes.leaves import leaves_for
from phantom_dist.engines.lanes.own_rows import OwnRows
from phantom_dist.engines.lanes.parameters import LaneTensor
from phantom_dist.engines.lanes.sgd_coefficients import Coefficients, SgdCoefficients
from phantom_dist.engines.lanes.tape import Tape


@final
class Dual(FullLanes):
    """Dual lanes. With a `path` they follow that instead of SGD's, and the tape takes all gradients' inner products."""

    def __init__(
        self, optimizer: Optimizer, shape: Shape, readout: nn.Parameter, path: Coefficients | None = None
    ) -> None:
        super().__init__(optimizer, shape, readout)
        own_path = path or SgdCoefficients(optimizer, shape.first, shape.steps)
        self.tape = Tape(own_path, shape, readout.device, compares=path is not None)
        self._readout = DualReadout(self.tape, frozen_matrix(readout))
        self._seen: set[int] = set()

    def replacements(self, model: Any) -> dict[nn.Module, nn.Module]:
        """See `Lanes`."""
        self.leave_undecayed(model)
        return leaves_for(model, self)

    def matrix(self, parameter: Tensor, *, transposed: bool = False) -> DualMatrix:
        """See `FullLanes`."""
        if parameter is self.readout:
            return self._readout
        if id(parameter) in self._seen | self._tables:
            raise NotFusable(
                "two modules share a matrix that is not the embedding, and the dual form supports one input per matrix"
            )
        self._seen.add(id(parameter))
        untouched = frozen_matrix(parameter)
        return DualMatrix(self.tape, Transposed(untouched) if transposed else untouched)

    def table(self, parameter: Tensor) -> OwnRows | TiedTable:
        """See `FullLanes`."""
        self._only_table(parameter)
        if parameter is not self.readout:
            if id(parameter) in self._seen:
                raise NotFusable("a matrix that is not the readout is used for lookups and for products")
            like = parameter.new_zeros(self.shape.tokens, parameter.shape[1])
            return OwnRows(frozen_matrix(parameter), self.parameters.matrix(like))
        own = self.parameters.matrix(parameter.new_zeros(self.shape.tokens, parameter.shape[1]))
        return TiedTable(self._readout, own)

    def geometry(self) -> DualReadout:
        """See `FullLanes`."""
        return self._readout

    def begin_step(self, step: int, *, learns: bool) -> None:
        """See `FullLanes`."""
        super().begin_step(step, learns=learns)
        self.tape.begin_step(step, learns=learns)

    def close(self) -> None:
        """See `Lanes`."""
        self.tape.close()

    def squared_gradient_norms(self) -> Tensor:
        """See `FullLanes`."""
        squares_L = super().squared_gradient_norms() + self.tape.products_Ls[:, -1]
        own = self._readout.own
        if own is None:
            return squares_L
        return squares_L + self._readout.shared_product(self.tape.step, own.gradient)

    def own_products(self, step: int, then: Mapping[LaneTensor, Tensor]) -> Tensor:
        """The part of ⟨this step's gradient, an earlier one⟩ that comes from lane tensors, which the tape doesn't keep.

        Args:
            step: the earlier step.
            then: its gradients, by tensor.

        Returns:
            (L,), float64.
        """
        parts = [
            (tensor.gradient.double() * part.double()).flatten(1).sum(dim=1) for tensor, part in then.items()
        ]
        products_L = torch.stack(parts).sum(dim=0)
        own = self._readout.own
        return products_L if own is None else products_L + self._readout.shared_product(step, then[own])

    def select(self, index: Sequence[int]) -> None:
        """See `FullLanes`."""
        super().select(index)
        self.tape.select(index)

    def clip(self, scales: Sequence[float]) -> None:
        """See `Lanes`; factors keep the whole gradient, and its coefficient is scaled."""
        super().clip(scales)
        self.tape.clip(scales)

    def update(self, rates: Sequence[float]) -> None:
        """See `FullLanes`."""
        super().update(rates)
        self.tape.update(rates)
