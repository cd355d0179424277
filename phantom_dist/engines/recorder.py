"""All instruments at one step, for any number of lanes in one pass; the reference engine has one lane."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from phantom_dist.core.measurement import Measurement
from phantom_dist.core.trial import Tokens
from phantom_dist.engines.trainable import Trainable
from phantom_dist.instruments import drag, drift, order_parameter, overlap, readout, shares, signal


class Geometry(Protocol):
    """What the instruments read of every lane's readout matrix E (V x d), as it is now."""

    @property
    def frozen(self) -> bool:
        """True where no lane's E may move."""
        ...

    def overlap_rows(self, pairs_L2: Tensor) -> Tensor:
        """S_t·, S_c· of each lane's target and competitor: token ids (L, 2) -> (L, 2, V), float64."""
        ...

    def drift(self) -> Sequence[float]:
        """‖E - E_0‖_F / ‖E_0‖_F of each lane."""
        ...

    def hash(self) -> str:
        """The hash of E's bytes; asked for where it is frozen."""
        ...


class SoloGeometry:
    """The geometry of the one model of the reference engine."""

    def __init__(self, trainable: Trainable) -> None:
        self._trainable = trainable
        self.frozen = trainable.readout_frozen

    def overlap_rows(self, pairs_L2: Tensor) -> Tensor:
        """See `Geometry`."""
        return overlap.overlap_rows(self._trainable.readout_Vd, tuple(pairs_L2[0].tolist()))[None]

    def drift(self) -> Sequence[float]:
        """See `Geometry`."""
        return [drift.embedding_drift(self._trainable.readout_Vd, self._trainable.initial_readout_Vd)]

    def hash(self) -> str:
        """See `Geometry`."""
        return drift.readout_hash(self._trainable.readout_Vd)


class Recorder:
    """Turns the logits of each step into measurements; keeps the last step's p and M for the shares.

    Where the readout matrix is frozen its bytes are hashed at every step, and the overlaps are measured once: equal
    bytes have equal overlaps.

    Raises (at `measure`):
        RuntimeError: a readout matrix that must be frozen has changed its bytes.
    """

    def __init__(self, geometry: Geometry, tokens: Sequence[Tokens], device: torch.device) -> None:
        self._geometry = geometry
        self._pairs_L2 = torch.tensor([(t.target, t.competitor) for t in tokens], device=device)
        self._hash = geometry.hash() if geometry.frozen else None
        self._overlap_L: Tensor
        self._lever_LV: Tensor
        self._last: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def measure(self, step: int, logits_LV: Tensor) -> list[Measurement]:
        """Measure every lane after `step` optimizer steps, from its logits; the gradient norms are not known yet."""
        frozen = self._geometry.frozen
        if frozen:
            self._check_frozen(step)
        if self._last is None or not frozen:
            self._look()
        t_L, c_L = self._pairs_L2.unbind(1)
        logits_LV = logits_LV.detach().float()
        p_LV, lever_LV = readout.probabilities(logits_LV), self._lever_LV
        p_t_L, p_c_L = readout.at(p_LV, t_L), readout.at(p_LV, c_L)
        columns = {
            "loss": readout.cross_entropy(logits_LV, t_L),
            "logit_gap": readout.logit_gap(logits_LV, t_L, c_L),
            "p_target": p_t_L,
            "p_competitor": p_c_L,
            "overlap": self._overlap_L,
            "order_parameter": order_parameter.order_parameter(p_LV, lever_LV),
            "signal": signal.signal(p_t_L, p_c_L, self._overlap_L),
            "drag": drag.drag(p_LV, lever_LV, t_L, c_L),
            "rank_target": readout.rank(logits_LV, t_L),
            "rank_competitor": readout.rank(logits_LV, c_L),
            "finite": torch.isfinite(logits_LV).all(dim=-1),
        }
        if self._last is not None:
            change = (self._last[0], p_LV, self._last[1], lever_LV)
            columns["readout_change"] = shares.readout_change(*change)
            columns["geometry_change"] = shares.geometry_change(*change)
        self._last = (p_LV, lever_LV)
        lanes = len(self._pairs_L2)
        values: dict[str, Sequence[Any]] = {name: column.tolist() for name, column in columns.items()}
        values["embedding_drift"] = [0.0] * lanes if frozen else self._geometry.drift()
        return [
            self._row(step, {name: column[lane] for name, column in values.items()}) for lane in range(lanes)
        ]

    def select(self, index: Sequence[int]) -> None:
        """Lane j becomes what lane index[j] was."""
        rows = torch.tensor(index, device=self._pairs_L2.device)
        self._pairs_L2, self._overlap_L = self._pairs_L2[rows], self._overlap_L[rows]
        self._lever_LV = self._lever_LV[rows]
        if self._last is not None:
            self._last = (self._last[0][rows], self._lever_LV)

    def _row(self, step: int, values: dict[str, Any]) -> Measurement:
        values = {"readout_change": None, "geometry_change": None, "gradient_norm": None} | values
        if not values.pop("finite"):
            values |= {"rank_target": None, "rank_competitor": None}
        return Measurement(step=step, readout_hash=self._hash, **values)

    def _look(self) -> None:
        rows_L2V = self._geometry.overlap_rows(self._pairs_L2)
        self._overlap_L = readout.at(rows_L2V[:, 0], self._pairs_L2[:, 1])
        self._lever_LV = order_parameter.lever(rows_L2V)

    def _check_frozen(self, step: int) -> None:
        now = self._geometry.hash()
        if now != self._hash:
            raise RuntimeError(
                f"the frozen readout matrix changed its bytes before step {step}: {self._hash} -> {now}"
            )


def with_gradient_norm(measurement: Measurement, gradient_norm: float) -> Measurement:
    """The same measurement with the norm of the gradient taken at its step."""
    return dataclasses.replace(measurement, gradient_norm=gradient_norm)
