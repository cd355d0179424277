"""Dual lanes: full fine-tuning under SGD in which no lane has matrices of its own.

After s steps of SGD a matrix is W = a W_0 + Σ_{r<s} c_r δ_rᵀ x_r with the inputs x_r (K x i) and output gradients δ_r
(K x o) of each step (`sgd_path` has a and c_r). So a lane keeps those instead of W:

    y = a x W_0ᵀ + Σ_r c_r (x x_rᵀ) δ_r,      dx = a δ W_0 + Σ_r c_r (δ δ_rᵀ) x_r

exact up to rounding (Irie, Csordás, Schmidhuber, ICML 2022, arXiv 2202.05798, give the identity). The rows of an
embedding that a lane's prompt looks up are few: they are the lane's own, as gains and biases are.

Memory of a lane in float32: 4 bytes · T · (K · Σ (widths of distinct inputs + of outputs) + 2 V), that is lanes x steps
x tokens x widths, and the activations of one backward pass. The sum runs over the model's matrices but the readout;
matrices that share an input (query, key and value; gate and up) share its buffer. SmolLM2-135M with 9 tokens: 9.5 MB a
step, where weights of a lane's own take 538 MB.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from phantom_dist.core.trial import Optimizer
from phantom_dist.engines.lanes.kind import FullLanes, NotFusable, Shape
from phantom_dist.engines.lanes.leaves import leaves_for
from phantom_dist.engines.lanes.own_rows import OwnRows, first_places
from phantom_dist.engines.lanes.parameters import LaneTensor
from phantom_dist.engines.lanes.rows import select_rows
from phantom_dist.engines.lanes.sgd_path import SgdPath
from phantom_dist.instruments import overlap

ALL = slice(None)


class Tape:
    """Where the batch stands, and every buffer of what it went through: (capacity, T, n, width) each."""

    def __init__(self, optimizer: Optimizer, shape: Shape, device: torch.device) -> None:
        self._shape, self._device = shape, device
        self._decays = optimizer.weight_decay > 0
        self._path = SgdPath(optimizer, shape.first, shape.steps)
        self._buffers: list[Tensor] = []
        self._inputs: list[Inputs] = []
        self.matrices: list[DualMatrix] = []
        self.lanes = shape.first
        self.step = 0
        self.learns = False
        self.squared_norms_L = torch.zeros(0)

    def buffer(self, like_LnW: Tensor, width: int | None = None) -> Tensor:
        """A new buffer for what has this shape (and perhaps another width) at every step."""
        _, places, own_width = like_LnW.shape
        room = like_LnW.new_empty(self._shape.lanes, self._shape.steps, places, width or own_width)
        self._buffers.append(room)
        return room

    def inputs_of(self, x: Tensor, x_LKi: Tensor) -> Inputs:
        """Where these activations are kept already, if another matrix reads them too; else a new place."""
        for inputs in reversed(self._inputs):
            if inputs.is_of(x):
                return inputs
        self._inputs.append(Inputs(self, x_LKi))
        return self._inputs[-1]

    def begin_step(self, step: int, *, learns: bool) -> None:
        """Look the coefficients of this step up."""
        self.step, self.learns = step, learns
        self.past_Ls = self._path.gradients.to(self._device, torch.float32)
        self.start_L = self._path.start.to(self._device)
        self.squared_norms_L = torch.zeros(self.lanes, device=self._device)

    def kept(self, value: Tensor, lanes: slice = ALL) -> Tensor:
        """a · value, (L, …): what weight decay has left of the untouched weights' part."""
        if not self._decays:
            return value
        return value * self.start_L[lanes].to(value.dtype).view(-1, *[1] * (value.ndim - 1))

    def so_far(self, buffer: Tensor, steps: int) -> Tensor:
        """The first steps of a buffer as (L, steps · n, width)."""
        return buffer[: self.lanes, :steps].flatten(1, 2)

    def weighted(self, cross_LKR: Tensor) -> Tensor:
        """Multiply the columns of each past step r by c_r; (L, K, s n)."""
        steps = self.past_Ls.shape[1]
        weighted_LKsn: Tensor = cross_LKR.unflatten(2, (steps, -1)) * self.past_Ls[:, None, :, None]
        return weighted_LKsn.flatten(2)

    def select(self, index: Sequence[int]) -> None:
        """Lane j becomes what lane index[j] was."""
        self.lanes = len(index)
        self._path.select(index)
        for buffer in self._buffers:
            select_rows(buffer[:, : self.step + 1], index)

    def update(self, rates: Sequence[float]) -> None:
        """The step of every lane at its learning rate."""
        for matrix in self.matrices:
            matrix.end_step()
        self._path.update(rates)


class Inputs:
    """What goes into one matrix, or into several that read the same activations: x_r of every step."""

    def __init__(self, tape: Tape, x_LKi: Tensor) -> None:
        self._tape = tape
        self._seen: weakref.ref[Tensor] | None = None
        self._seen_at = -1
        self.x_LTKi = tape.buffer(x_LKi)
        self.gram_LKK: Tensor
        self.weighted_LKR: Tensor

    def is_of(self, x: Tensor) -> bool:
        """True if the activations are the ones that were taken last."""
        return self._seen is not None and self._seen() is x

    def take(self, x: Tensor, x_LKi: Tensor) -> None:
        """Keep this step's activations, and their products with all earlier ones: once for all matrices.

        Raises:
            RuntimeError: the model gives matrices different activations that shared theirs at the first step.
        """
        if self.is_of(x):
            return
        tape, step = self._tape, self._tape.step
        if self._seen_at == step:
            raise RuntimeError("matrices that shared their input at the first step have different ones now")
        self._seen, self._seen_at = weakref.ref(x), step
        if tape.learns:
            self.x_LTKi[: tape.lanes, step].copy_(x_LKi)
        cross_LKR = torch.bmm(x_LKi, tape.so_far(self.x_LTKi, step + tape.learns).mT)
        earlier = step * x_LKi.shape[1]
        self.gram_LKK = cross_LKR[..., earlier:]
        if step:
            self.weighted_LKR = tape.weighted(cross_LKR[..., :earlier])


class DualMatrix:
    """A matrix of every lane: W_0 for all of them, and what each lane's steps added."""

    def __init__(self, tape: Tape, weight_oi: Tensor) -> None:
        self.tape = tape
        self.weight_oi = weight_oi
        self.inputs: Inputs | None = None
        self.dy_LTKo: Tensor | None = None
        self._learnt_at = -1
        tape.matrices.append(self)

    def product(self, x: Tensor) -> Tensor:
        """See `kind.Matrix`."""
        x_LKi = x.reshape(self.tape.lanes, -1, x.shape[-1])
        if self.inputs is None:
            self.inputs = self.tape.inputs_of(x, x_LKi)
            self.dy_LTKo = self.tape.buffer(x_LKi, self.weight_oi.shape[0])
        if self.tape.learns and not x.requires_grad:
            raise RuntimeError("activations without a gradient reach a matrix that is trained")
        self.inputs.take(x, x_LKi.detach())
        y_LKo: Tensor = _Product.apply(x_LKi, self)  # type: ignore[no-untyped-call]
        return y_LKo.reshape(*x.shape[:-1], -1)

    def forward(self, x_LKi: Tensor) -> Tensor:
        """y, without a gradient."""
        assert self.inputs is not None
        assert self.dy_LTKo is not None
        y_LKo = self.tape.kept(nn.functional.linear(x_LKi, self.weight_oi))
        if self.tape.step:
            y_LKo.baddbmm_(self.inputs.weighted_LKR, self.tape.so_far(self.dy_LTKo, self.tape.step))
        return y_LKo

    def backward(self, dy_LKo: Tensor) -> Tensor:
        """dx; keeps dy, and adds ‖dyᵀ x‖² = Σ_jk (x_j · x_k)(dy_j · dy_k) to the gradient's norm."""
        assert self.inputs is not None
        assert self.dy_LTKo is not None
        tape, step = self.tape, self.tape.step
        self._learnt_at = step
        self.dy_LTKo[: tape.lanes, step].copy_(dy_LKo)
        cross_LKR = torch.bmm(dy_LKo, tape.so_far(self.dy_LTKo, step + 1).mT)
        earlier = step * dy_LKo.shape[1]
        tape.squared_norms_L += (cross_LKR[..., earlier:] * self.inputs.gram_LKK).sum(dim=(1, 2))
        dx_LKi = tape.kept(dy_LKo @ self.weight_oi)
        if step:
            x_LRi = tape.so_far(self.inputs.x_LTKi, step)
            dx_LKi.baddbmm_(tape.weighted(cross_LKR[..., :earlier]), x_LRi)
        return dx_LKi

    def end_step(self) -> None:
        """Keep zeros where the loss doesn't depend on the matrix, and no gradient came."""
        if self.dy_LTKo is not None and self._learnt_at < self.tape.step:
            self.dy_LTKo[: self.tape.lanes, self.tape.step] = 0.0


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_LKi: Tensor, matrix: DualMatrix) -> Tensor:
        ctx.matrix = matrix
        return matrix.forward(x_LKi)

    @staticmethod
    def backward(ctx: Any, dy_LKo: Tensor) -> tuple[Tensor, None]:
        return ctx.matrix.backward(dy_LKo), None


class TiedTable:
    """The embedding that the readout is tied to: what the readout's gradients added, and the lane's own rows on top.

    Only the rows that the prompt looks up get gradients here, so these are the lane's own: a E_0[id] + Σ … + own.
    """

    def __init__(self, readout: DualReadout, own: LaneTensor) -> None:
        self._readout = readout
        self._own = readout.own = own

    def rows(self, ids_LK: Tensor) -> Tensor:
        """See `kind.Table`."""
        self._readout.own_ids_LK = ids_LK
        return self._readout.shared_rows(ids_LK) + self._own.rows(first_places(ids_LK))


class DualReadout(DualMatrix):
    """The readout E (V x d), read at one position; the geometry of its rows in closed form, never (L, V, d).

    E = a E_0 + Σ_r c_r p_r ⊗ h_r + the lane's own rows where it is tied; p_r the gradient of the logits, h_r the
    hidden state, z_r = E_0 h_r.
    """

    frozen = False

    def __init__(self, tape: Tape, weight_Vd: Tensor) -> None:
        super().__init__(tape, weight_Vd)
        self.own: LaneTensor | None = None
        self.own_ids_LK: Tensor | None = None
        self._z_LTV: Tensor | None = None
        self._squared_rows_V = torch.linalg.vector_norm(weight_Vd, dim=1).square()

    def forward(self, h_L1d: Tensor) -> Tensor:
        """The logits, (L, 1, V)."""
        tape = self.tape
        z_L1V = nn.functional.linear(h_L1d, self.weight_oi)
        if self._z_LTV is None:
            self._z_LTV = tape.buffer(z_L1V)
        if tape.learns:
            self._z_LTV[: tape.lanes, tape.step].copy_(z_L1V)
        logits_L1V = tape.kept(z_L1V)
        if tape.step:
            assert self.inputs is not None
            assert self.dy_LTKo is not None
            logits_L1V = torch.baddbmm(
                logits_L1V, self.inputs.weighted_LKR, tape.so_far(self.dy_LTKo, tape.step)
            )
        if self.own is not None:
            parts_L1K = h_L1d @ self.own.value.detach().mT
            logits_L1V = logits_L1V.scatter_add(2, self._ids(), parts_L1K)
        return logits_L1V

    def backward(self, dy_L1V: Tensor) -> Tensor:
        """dh; see `DualMatrix`."""
        dh_L1d = super().backward(dy_L1V)
        if self.own is not None:
            dh_L1d += dy_L1V.gather(2, self._ids()) @ self.own.value.detach()
        return dh_L1d

    def squared_norm_shared(self) -> Tensor:
        """2 ⟨the readout's gradient, the lookup's⟩: what a tied matrix's norm has beside the two squares; (L,)."""
        if self.own is None:
            return torch.zeros(self.tape.lanes, device=self.weight_oi.device)
        assert self.inputs is not None
        assert self.dy_LTKo is not None
        lanes, step = self.tape.lanes, self.tape.step
        h_L1d, p_L1V = self.inputs.x_LTKi[:lanes, step], self.dy_LTKo[:lanes, step]
        return 2 * (p_L1V.gather(2, self._ids()) * (h_L1d @ self.own.gradient.mT)).sum(dim=(1, 2))

    def added_rows(self, ids_LK: Tensor, lanes: slice = ALL) -> Tensor:
        """Σ_r c_r p_r[id] h_r; (L, K, d), or 0 before the first step."""
        if not self.tape.step:
            return torch.zeros((), device=ids_LK.device)
        p_LsK = self._past(self.dy_LTKo, lanes).gather(2, ids_LK[:, None].expand(-1, self.tape.step, -1))
        return (p_LsK * self.tape.past_Ls[lanes, :, None]).mT @ self._hidden(lanes)

    def shared_rows(self, ids_LK: Tensor, lanes: slice = ALL) -> Tensor:
        """Rows of E without the lane's own part; (L, K, d)."""
        start_LKd = self.tape.kept(nn.functional.embedding(ids_LK, self.weight_oi), lanes)
        return start_LKd + self.added_rows(ids_LK, lanes)

    # -- geometry, see `recorder.Geometry` ---------------------------------------------------------------------------

    def look(self, pairs_L2: Tensor) -> None:
        """The products with E_0, for all lanes at once: reading E_0 is what they cost."""
        self._pair_L2d = self._rows(pairs_L2, ALL)
        self._products_L2V = nn.functional.linear(self._pair_L2d, self.weight_oi)

    def overlap_rows(self, pairs_L2: Tensor, lanes: slice) -> Tensor:
        """See `recorder.Geometry`."""
        tape, pair_L2d = self.tape, self._pair_L2d[lanes]
        products_L2V = tape.kept(self._products_L2V[lanes], lanes)
        squares_LV = tape.kept(tape.kept(self._squared_rows_V.repeat(len(pairs_L2), 1), lanes), lanes)
        if tape.step:
            h_Lsd = self._hidden(lanes)
            c_p_LsV = self._past(self.dy_LTKo, lanes) * tape.past_Ls[lanes, :, None]
            products_L2V.baddbmm_(pair_L2d @ h_Lsd.mT, c_p_LsV)
            z_LsV = tape.kept(self._past(self._z_LTV, lanes), lanes)
            rises_LsV = torch.baddbmm(z_LsV, h_Lsd @ h_Lsd.mT, c_p_LsV, beta=2)
            squares_LV += rises_LsV.mul_(c_p_LsV).sum(dim=1)
        norms_LV = squares_LV.clamp_min_(0).sqrt_()
        if self.own is not None:
            own_LKd, ids_L1K = self.own.value[lanes].detach(), self._ids()[lanes]
            products_L2V.scatter_add_(2, ids_L1K.expand(-1, 2, -1), pair_L2d @ own_LKd.mT)
            own_norms_LK = torch.linalg.vector_norm(self._rows(ids_L1K[:, 0], lanes), dim=2)
            norms_LV.scatter_(1, ids_L1K[:, 0], own_norms_LK)
        return overlap.overlaps(products_L2V, norms_LV, pairs_L2)

    def drift(self) -> Sequence[float]:
        """‖E - E_0‖_F / ‖E_0‖_F from the scalar products of what E - E_0 is a sum of, in float64."""
        lost_L = self.tape.start_L - 1
        squares_L = lost_L.square() * self._squared_rows_V.double().sum()
        if self.tape.step:
            c_Ls, h_Lsd, p_LsV = self.tape.past_Ls.double(), self._hidden(), self._past(self.dy_LTKo)
            gram_Lss = (h_Lsd @ h_Lsd.mT).double() * (p_LsV @ p_LsV.mT).double()
            squares_L += torch.einsum("lr,lq,lrq->l", c_Ls, c_Ls, gram_Lss)
            start_Ls = (p_LsV * self._past(self._z_LTV)).sum(dim=2).double()
            squares_L += 2 * lost_L * (c_Ls * start_Ls).sum(dim=1)
        if self.own is not None:
            own_LKd, ids_LK = self.own.value.detach(), self._ids()[:, 0]
            start_LKd = nn.functional.embedding(ids_LK, self.weight_oi)
            others_LKd = 2 * lost_L[:, None, None] * start_LKd + 2 * self.added_rows(ids_LK) + own_LKd
            squares_L += (own_LKd.double() * others_LKd).sum(dim=(1, 2))
        drifts: list[float] = (squares_L.clamp_min(0) / self._squared_rows_V.double().sum()).sqrt().tolist()
        return drifts

    def hash(self) -> str:
        """Nothing is frozen here."""
        raise NotImplementedError

    def _hidden(self, lanes: slice = ALL) -> Tensor:
        assert self.inputs is not None
        return self._past(self.inputs.x_LTKi, lanes)

    def _past(self, buffer_LT1W: Tensor | None, lanes: slice = ALL) -> Tensor:
        assert buffer_LT1W is not None
        return self.tape.so_far(buffer_LT1W, self.tape.step)[lanes]

    def _ids(self) -> Tensor:
        """The ids of the lane's own rows, (L, 1, K)."""
        assert self.own_ids_LK is not None
        return self.own_ids_LK[:, None]

    def _rows(self, ids_LK: Tensor, lanes: slice) -> Tensor:
        """Whole rows of E, (L, K, d)."""
        rows_LKd = self.shared_rows(ids_LK, lanes)
        if self.own is None:
            return rows_LKd
        is_own_LKK = (ids_LK[:, :, None] == self._ids()[lanes]).to(rows_LKd.dtype)
        return rows_LKd + is_own_LKK @ self.own.value[lanes].detach()


@final
class Dual(FullLanes):
    """Dual lanes."""

    def __init__(self, optimizer: Optimizer, shape: Shape, readout: nn.Parameter) -> None:
        super().__init__(optimizer, shape, readout)
        self._tape = Tape(optimizer, shape, readout.device)
        self._readout = DualReadout(self._tape, readout.detach())
        self._seen: set[int] = set()

    def replacements(self, model: Any) -> dict[nn.Module, nn.Module]:
        """See `Lanes`."""
        return leaves_for(model, self)

    def matrix(self, parameter: Tensor, *, transposed: bool = False) -> DualMatrix:
        """See `FullLanes`."""
        if parameter is self.readout:
            return self._readout
        if id(parameter) in self._seen:
            raise NotFusable(
                "two modules share a matrix that is not the embedding, and the dual form keeps one input"
            )
        self._seen.add(id(parameter))
        weight = parameter.detach()
        return DualMatrix(self._tape, weight.T if transposed else weight)

    def table(self, parameter: Tensor) -> OwnRows | TiedTable:
        """See `FullLanes`."""
        if parameter is not self.readout:
            return OwnRows(parameter.detach(), self.parameters, self.shape.tokens)
        own = self.parameters.matrix(parameter.new_zeros(self.shape.tokens, parameter.shape[1]))
        return TiedTable(self._readout, own)

    def geometry(self) -> DualReadout:
        """See `FullLanes`."""
        return self._readout

    def begin_step(self, step: int, *, learns: bool) -> None:
        """See `FullLanes`."""
        super().begin_step(step, learns=learns)
        self._tape.begin_step(step, learns=learns)

    def squared_gradient_norms(self) -> Tensor:
        """See `FullLanes`."""
        return (
            super().squared_gradient_norms()
            + self._tape.squared_norms_L
            + self._readout.squared_norm_shared()
        )

    def select(self, index: Sequence[int]) -> None:
        """See `FullLanes`."""
        super().select(index)
        self._tape.select(index)

    def update(self, rates: Sequence[float]) -> None:
        """See `FullLanes`."""
        super().update(rates)
        self._tape.update(rates)
