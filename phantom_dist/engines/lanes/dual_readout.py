"""The readout in the dual form, without a copy per lane, and the embedding that is tied to it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from phantom_dist.engines.lanes.dual_matrix import DualMatrix
from phantom_dist.engines.lanes.frozen_matrix import FrozenMatrix
from phantom_dist.engines.lanes.own_rows import first_places
from phantom_dist.engines.lanes.parameters import LaneTensor
from phantom_dist.engines.lanes.tape import ALL, Tape
from phantom_dist.instruments import overlap


class TiedTable:
    """The embedding that the readout is tied to. A row is a E_0[id] + Σ_r c_r p_r[id] h_r + the lane's own part.

    The sum comes from the readout's gradients. The lookup's gradients go to the lane's own part, which exists only for
    the rows that the prompt looks up, as no other row gets any.
    """

    def __init__(self, readout: DualReadout, own: LaneTensor) -> None:
        self._readout = readout
        self._own = readout.own = own

    def rows(self, ids_LK: Tensor) -> Tensor:
        """See `kind.Table`."""
        self._readout.own_ids_LK = ids_LK
        return self._readout.shared_rows(ids_LK) + self._own.rows(first_places(ids_LK))


class DualReadout(DualMatrix):
    """The readout E (V x d), applied at one position; the geometry of its rows in closed form, never (L, V, d).

    E = a E_0 + Σ_r c_r p_r ⊗ h_r + the lane's own rows where it is tied; p_r is the gradient of the logits at step r,
    h_r the hidden state, z_r = E_0 h_r.
    """

    frozen = False

    def __init__(self, tape: Tape, untouched_Vd: FrozenMatrix) -> None:
        super().__init__(tape, untouched_Vd)
        self._untouched_Vd = untouched_Vd
        self.own: LaneTensor | None = None
        self.own_ids_LK: Tensor | None = None
        self._z_LTV: Tensor | None = None
        self._squared_rows_V = untouched_Vd.squared_row_norms()
        self._pairs_L2: Tensor | None = None

    def forward(self, h_L1d: Tensor) -> Tensor:
        """The logits, (L, 1, V)."""
        tape = self.tape
        # 1. z = E_0 h, and the products of E_0 with the pairs' rows for the geometry: the only products with the whole
        # matrix, in one pass over it. Store z, which the geometry needs in later steps.
        if self._pairs_L2 is None:
            z_L1V = self._untouched_Vd.times_transposed(h_L1d)
        else:
            self._pair_L2d = self._rows(self._pairs_L2, ALL)
            products_L3V = self._untouched_Vd.times_transposed(torch.cat([h_L1d, self._pair_L2d], dim=1))
            z_L1V, self._products_L2V = products_L3V[:, :1], products_L3V[:, 1:]
        if self._z_LTV is None:
            self._z_LTV = tape.buffer(z_L1V)
        if tape.learns:
            self._z_LTV[: tape.lanes, tape.step].copy_(z_L1V)
        logits_L1V = tape.decayed(z_L1V)
        # 2. + Σ_r c_r p_r ⟨h_r, h⟩: the earlier steps.
        if tape.step:
            assert self.inputs is not None
            assert self.dy_LTKo is not None
            logits_L1V = torch.baddbmm(
                logits_L1V, self.inputs.weighted_LKR, tape.first_steps(self.dy_LTKo, tape.step)
            )
        # 3. + own[id] · h at the prompt's ids, where the matrix is tied.
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

    def shared_product(self, step: int, lookup_LKd: Tensor) -> Tensor:
        """The mixed terms of ⟨this step's gradient, an earlier one⟩ where the matrix is tied.

        The gradient of a tied matrix has a part from the readout and one from the lookup. The tape and the lane tensors
        have the products of like parts.

        Args:
            step: the earlier step; this one, for the norm.
            lookup_LKd: the gradient of the lane's own rows at that step.

        Returns:
            ⟨readout's part now, lookup's part then⟩ + ⟨readout's part then, lookup's part now⟩; (L,).
        """
        assert self.own is not None
        now, then = self.tape.step, step
        return self._readout_by_lookup(now, lookup_LKd) + self._readout_by_lookup(then, self.own.gradient)

    def _readout_by_lookup(self, step: int, lookup_LKd: Tensor) -> Tensor:
        """⟨p ⊗ h of a step, the gradient of the looked-up rows⟩; (L,)."""
        assert self.inputs is not None
        assert self.dy_LTKo is not None
        lanes = self.tape.lanes
        h_L1d, p_L1V = self.inputs.x_LTKi[:lanes, step], self.dy_LTKo[:lanes, step]
        return (p_L1V.gather(2, self._ids()) * (h_L1d @ lookup_LKd.mT)).sum(dim=(1, 2))

    def added_rows(self, ids_LK: Tensor, lanes: slice = ALL) -> Tensor:
        """Σ_r c_r p_r[id] h_r; (L, K, d), or 0 before the first step."""
        if not self.tape.step:
            return torch.zeros((), device=ids_LK.device)
        p_LsK = self._past(self.dy_LTKo, lanes).gather(2, ids_LK[:, None].expand(-1, self.tape.step, -1))
        return (p_LsK * self.tape.past_Ls[lanes, :, None]).mT @ self._hidden(lanes)

    def shared_rows(self, ids_LK: Tensor, lanes: slice = ALL) -> Tensor:
        """Rows of E without the lane's own part: a E_0[id] + Σ_r c_r p_r[id] h_r; (L, K, d)."""
        start_LKd = self.tape.decayed(self._untouched_Vd.rows(ids_LK), lanes)
        return start_LKd + self.added_rows(ids_LK, lanes)

    # -- geometry, see `recorder.Geometry` ---------------------------------------------------------------------------

    def watch(self, pairs_L2: Tensor) -> None:
        """See `recorder.Geometry`."""
        self._pairs_L2 = pairs_L2

    def overlap_rows(self, pairs_L2: Tensor, lanes: slice) -> Tensor:
        """See `recorder.Geometry`."""
        tape, pair_L2d = self.tape, self._pair_L2d[lanes]
        # 1. Products of the pair's rows e_k with all rows: with E = a E_0 + Σ_r c_r p_r ⊗ h_r,
        # E e_k = a E_0 e_k + Σ_r c_r p_r ⟨h_r, e_k⟩.
        # 2. Squared norms of all rows i: ‖E_i‖² = a² ‖E_0i‖² + Σ_r c_r p_ri (2 a z_ri + Σ_q c_q p_qi ⟨h_r, h_q⟩).
        products_L2V = tape.decayed(self._products_L2V[lanes], lanes)
        squares_LV = tape.decayed(tape.decayed(self._squared_rows_V.repeat(len(pairs_L2), 1), lanes), lanes)
        if tape.step:
            h_Lsd = self._hidden(lanes)
            c_p_LsV = self._past(self.dy_LTKo, lanes) * tape.past_Ls[lanes, :, None]
            products_L2V.baddbmm_(pair_L2d @ h_Lsd.mT, c_p_LsV)
            z_LsV = tape.decayed(self._past(self._z_LTV, lanes), lanes)
            rises_LsV = torch.baddbmm(z_LsV, h_Lsd @ h_Lsd.mT, c_p_LsV, beta=2)
            squares_LV += rises_LsV.mul_(c_p_LsV).sum(dim=1)
        # Cancellation can leave a squared norm just below 0.
        norms_LV = squares_LV.clamp_min_(0).sqrt_()
        if self.own is not None:
            # 3. The rows at the prompt's ids also have the lane's own part: add it to their products, and compute their
            # norms from the complete rows.
            own_LKd, ids_L1K = self.own.value[lanes].detach(), self._ids()[lanes]
            products_L2V.scatter_add_(2, ids_L1K.expand(-1, 2, -1), pair_L2d @ own_LKd.mT)
            own_norms_LK = torch.linalg.vector_norm(self._rows(ids_L1K[:, 0], lanes), dim=2)
            norms_LV.scatter_(1, ids_L1K[:, 0], own_norms_LK)
        return overlap.overlaps(products_L2V, norms_LV, pairs_L2)

    def drift(self) -> Sequence[float]:
        """‖E - E_0‖_F / ‖E_0‖_F from the inner products of the terms of E - E_0, in float64."""
        # E − E_0 = (a − 1) E_0 + Σ_r c_r p_r ⊗ h_r + own.
        # 1. The square of (a − 1) E_0.
        lost_L = self.tape.start_L - 1
        squares_L = lost_L.square() * self._squared_rows_V.double().sum()
        if self.tape.step:
            c_Ls, h_Lsd, p_LsV = self.tape.past_Ls.double(), self._hidden(), self._past(self.dy_LTKo)
            # 2. The square of the sum over steps, Σ_rq c_r c_q ⟨p_r, p_q⟩ ⟨h_r, h_q⟩.
            gram_Lss = (h_Lsd @ h_Lsd.mT).double() * (p_LsV @ p_LsV.mT).double()
            squares_L += torch.einsum("lr,lq,lrq->l", c_Ls, c_Ls, gram_Lss)
            # 3. Twice its product with (a − 1) E_0: ⟨E_0, p_r ⊗ h_r⟩ = p_r · z_r.
            start_Ls = (p_LsV * self._past(self._z_LTV)).sum(dim=2).double()
            squares_L += 2 * lost_L * (c_Ls * start_Ls).sum(dim=1)
        if self.own is not None:
            # 4. own · (2 × the other two terms + own), over the lane's own rows only.
            own_LKd, ids_LK = self.own.value.detach(), self._ids()[:, 0]
            start_LKd = self._untouched_Vd.rows(ids_LK)
            others_LKd = 2 * lost_L[:, None, None] * start_LKd + 2 * self.added_rows(ids_LK) + own_LKd
            squares_L += (own_LKd.double() * others_LKd).sum(dim=(1, 2))
        drifts: list[float] = (squares_L.clamp_min(0) / self._squared_rows_V.double().sum()).sqrt().tolist()
        return drifts

    def hash(self) -> str:
        """Never called: this matrix is trained."""
        raise NotImplementedError

    def _hidden(self, lanes: slice = ALL) -> Tensor:
        """h_r of all earlier steps; (L, s, d)."""
        assert self.inputs is not None
        return self._past(self.inputs.x_LTKi, lanes)

    def _past(self, buffer_LT1W: Tensor | None, lanes: slice = ALL) -> Tensor:
        """A buffer's entries of all earlier steps; (L, s, W)."""
        assert buffer_LT1W is not None
        return self.tape.first_steps(buffer_LT1W, self.tape.step)[lanes]

    def _ids(self) -> Tensor:
        """The ids of the lane's own rows, (L, 1, K)."""
        assert self.own_ids_LK is not None
        return self.own_ids_LK[:, None]

    def _rows(self, ids_LK: Tensor, lanes: slice) -> Tensor:
        """Complete rows of E, with the lane's own part; (L, K, d)."""
        rows_LKd = self.shared_rows(ids_LK, lanes)
        if self.own is None:
            return rows_LKd
        is_own_LKK = (ids_LK[:, :, None] == self._ids()[lanes]).to(rows_LKd.dtype)
        return rows_LKd + is_own_LKK @ self.own.value[lanes].detach()
