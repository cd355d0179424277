"""All instruments at one step, for any number of lanes in one pass; the reference engine has one lane."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from phantom_dist.core.measurement import Measurement
from phantom_dist.core.tokens import Tokens
from phantom_dist.engines.trainable import Trainable
from phantom_dist.instruments import drag, drift, order_parameter, overlap, readout, shares, signal
from phantom_dist.instruments.plugin_instruments import Named, Readout
from phantom_dist.instruments.word_prompts import word_gap, word_loss

CACHED_ENTRIES = 1 << 18
"""Lanes × V to measure at a time, on a CPU: dozens of passes over float64 rows that stay in a cache (2 MiB)."""

GPU_ENTRIES = 1 << 24
"""The same on a GPU, where a kernel's launch would take longer than its work on so few entries; 128 MiB a row."""


class Geometry(Protocol):
    """What the instruments need of every lane's readout matrix E (V x d), as it is now."""

    @property
    def frozen(self) -> bool:
        """True where no lane's E may change."""
        ...

    def watch(self, pairs_L2: Tensor) -> None:
        """The tokens (L, 2) of each lane's pair from the next forward pass on, whose overlaps will be asked for."""
        ...

    def overlap_rows(self, pairs_L2: Tensor, lanes: slice) -> Tensor:
        """S_t·, S_c· of some lanes' targets and competitors: token ids (L, 2) -> (L, 2, V), float64."""
        ...

    def drift(self) -> Sequence[float]:
        """‖E - E_0‖_F / ‖E_0‖_F of each lane."""
        ...

    def hash(self) -> str:
        """The hash of E's bytes; called only where E is frozen."""
        ...


class SoloGeometry:
    """The geometry of the one model of the reference engine; as many lanes as it watches contexts."""

    def __init__(self, trainable: Trainable, watched: int = 1) -> None:
        self._trainable, self._watched = trainable, watched
        self.frozen = trainable.readout_frozen
        self._norms_V: Tensor | None = None
        self._hash = drift.ReadoutHash(trainable.readout_Vd)

    def watch(self, pairs_L2: Tensor) -> None:
        """A no-op: there is one model."""

    def overlap_rows(self, pairs_L2: Tensor, lanes: slice) -> Tensor:
        """See `Geometry`."""
        readout_Vd = self._trainable.readout_Vd
        if self._norms_V is None or not self.frozen:
            self._norms_V = overlap.row_norms(readout_Vd)
        return overlap.pair_rows(readout_Vd, pairs_L2, self._norms_V)

    def drift(self) -> Sequence[float]:
        """See `Geometry`."""
        ready = self._trainable
        return [drift.embedding_drift(ready.readout_Vd, ready.initial_readout_Vd)] * self._watched

    def hash(self) -> str:
        """See `Geometry`."""
        return self._hash()


class Recorder:
    """Turns the logits of each step into measurements; keeps the last step's p and M for the shares.

    Where the readout matrix is frozen, the recorder hashes its bytes at every step and measures the overlaps once:
    equal bytes have equal overlaps.

    Raises (at `measure`):
        RuntimeError: the bytes of a frozen readout matrix changed.
        InputError: an instrument of another package failed.
    """

    def __init__(
        self,
        geometry: Geometry,
        tokens: Sequence[Tokens],
        device: torch.device,
        plugin_instruments: Sequence[Named] = (),
    ) -> None:
        self._geometry = geometry
        self._plugin_instruments = plugin_instruments
        self._pairs_L2 = torch.tensor([(t.target, t.competitor) for t in tokens], device=device)
        geometry.watch(self._pairs_L2)
        self._hash = geometry.hash() if geometry.frozen else None
        self._p_LV: Tensor | None = None
        self._overlap_L: Tensor
        self._lever_LV: Tensor

    @torch.no_grad()
    def measure(self, step: int, logits_LV: Tensor, rests_L3: Tensor | None = None) -> list[Measurement]:
        """Measure every lane, after `step` optimizer steps and before the gradient norm is known.

        Args:
            step: steps taken.
            logits_LV: each lane's logits where its words differ first.
            rests_L3: the log-probabilities of further tokens (`instruments.word_prompts`); None if no lane has any.
        """
        if self._geometry.frozen:
            self._check_frozen(step)
        logits_LV = logits_LV.detach().float()
        if self._p_LV is None:
            self._overlap_L = logits_LV.new_empty(len(logits_LV), dtype=torch.float64)
            self._lever_LV = torch.empty_like(logits_LV, dtype=torch.float64)
            before_LV = self._p_LV = torch.full_like(self._lever_LV, torch.nan)
        else:
            before_LV = self._p_LV
        # So many lanes at a time that their rows stay in the cache.
        size = max(1, (GPU_ENTRIES if logits_LV.is_cuda else CACHED_ENTRIES) // logits_LV.shape[1])
        parts = [slice(start, start + size) for start in range(0, len(logits_LV), size)]
        columns = [
            self._columns(
                step,
                logits_LV[lanes],
                None if rests_L3 is None else rests_L3[lanes],
                before_LV[lanes],
                lanes,
            )
            for lanes in parts
        ]
        values: dict[str, Sequence[Any]] = {
            name: torch.cat([part[name] for part in columns]).tolist() for name in columns[0]
        }
        count = len(logits_LV)
        values["embedding_drift"] = [0.0] * count if self._geometry.frozen else self._geometry.drift()
        return [
            self._row(step, {name: column[lane] for name, column in values.items()}) for lane in range(count)
        ]

    def select(self, index: Sequence[int]) -> None:
        """Replace lane j by lane index[j]."""
        rows = torch.tensor(index, device=self._pairs_L2.device)
        self._pairs_L2, self._overlap_L = self._pairs_L2[rows], self._overlap_L[rows]
        self._geometry.watch(self._pairs_L2)
        self._lever_LV = self._lever_LV[rows]
        if self._p_LV is not None:
            self._p_LV = self._p_LV[rows]

    def _columns(
        self, step: int, logits_LV: Tensor, rests_L3: Tensor | None, p_LV: Tensor, lanes: slice
    ) -> dict[str, Tensor]:
        """The columns of some lanes. Overwrites their last p and M, in `p_LV` and `_lever_LV`, with the new ones."""
        pairs_L2, before_LV = self._pairs_L2[lanes], self._lever_LV[lanes]
        t_L, c_L = pairs_L2.unbind(1)
        lever_LV = before_LV
        if step == 0 or not self._geometry.frozen:
            rows_L2V = self._geometry.overlap_rows(pairs_L2, lanes)
            self._overlap_L[lanes] = readout.at(rows_L2V[:, 0], c_L)
            lever_LV = order_parameter.lever(rows_L2V)
        overlap_L, now_LV = self._overlap_L[lanes], readout.probabilities(logits_LV)
        p_t_L, p_c_L = readout.at(now_LV, t_L), readout.at(now_LV, c_L)
        columns = {
            "loss": word_loss(readout.cross_entropy(logits_LV, t_L), rests_L3),
            "logit_gap": word_gap(readout.logit_gap(logits_LV, t_L, c_L), rests_L3),
            "p_target": p_t_L,
            "p_competitor": p_c_L,
            "overlap": overlap_L,
            "order_parameter": order_parameter.order_parameter(now_LV, lever_LV),
            "signal": signal.signal(p_t_L, p_c_L, overlap_L),
            "drag": drag.drag(now_LV, lever_LV, t_L, c_L),
            "rank_target": readout.rank(logits_LV, t_L),
            "rank_competitor": readout.rank(logits_LV, c_L),
            "finite": torch.isfinite(logits_LV).all(dim=-1),
        }
        if step > 0:
            columns["readout_change"] = shares.readout_change(p_LV, now_LV, before_LV, lever_LV)
            columns["geometry_change"] = shares.geometry_change(p_LV, now_LV, before_LV, lever_LV)
        for instrument in self._plugin_instruments:
            columns |= instrument.measure(
                Readout(
                    step=step,
                    logits_LV=logits_LV,
                    probabilities_LV=now_LV,
                    lever_LV=lever_LV,
                    target_L=t_L,
                    competitor_L=c_L,
                    overlap_L=overlap_L,
                )
            )
        p_LV.copy_(now_LV)
        before_LV.copy_(lever_LV)
        return columns

    def _row(self, step: int, values: dict[str, Any]) -> Measurement:
        values = {"readout_change": None, "geometry_change": None, "gradient_norm": None} | values
        if not values.pop("finite"):
            values |= {"rank_target": None, "rank_competitor": None}
        plugin_values = {
            q.name: values.pop(q.name) for instrument in self._plugin_instruments for q in instrument.columns
        }
        return Measurement(step=step, readout_hash=self._hash, plugin_values=plugin_values, **values)

    def _check_frozen(self, step: int) -> None:
        now = self._geometry.hash()
        if now != self._hash:
            raise RuntimeError(
                f"the bytes of the frozen readout matrix changed before step {step}: hash {self._hash} -> {now}"
            )


def with_gradient_norm(
    measurement: Measurement, gradient_norm: float, training_loss: float | None = None
) -> Measurement:
    """The measurement with the norm of the gradient at its step, and with the loss of a training set's batch."""
    return dataclasses.replace(measurement, gradient_norm=gradient_norm, training_loss=training_loss)
