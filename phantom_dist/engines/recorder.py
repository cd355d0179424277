"""All instruments at one step of one trial."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from phantom_dist.core.measurement import Measurement
from phantom_dist.core.trial import Tokens
from phantom_dist.engines.trainable import Trainable
from phantom_dist.instruments import drag, drift, order_parameter, overlap, readout, shares, signal


class Recorder:
    """Turns the logits of each step into a `Measurement`; keeps the last step's p and M for the shares.

    Where the readout matrix is frozen its bytes are hashed at every step, and the overlaps are measured once: equal
    bytes have equal overlaps.

    Raises (at `measure`):
        RuntimeError: a readout matrix that must be frozen has changed its bytes.
    """

    def __init__(self, trainable: Trainable, tokens: Tokens) -> None:
        self._trainable = trainable
        self._tokens = tokens
        self._hash = drift.readout_hash(trainable.readout_Vd) if trainable.readout_frozen else None
        self._overlap, self._lever_V = self._geometry()
        self._last: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def measure(self, step: int, logits_V: Tensor) -> Measurement:
        """Measure the model after `step` optimizer steps, from its logits (V,); the gradient norm is not known yet."""
        t, c = self._tokens.target, self._tokens.competitor
        if self._trainable.readout_frozen:
            self._check_frozen(step)
        elif step > 0:
            self._overlap, self._lever_V = self._geometry()
        logits_V = logits_V.detach().float()
        p_V = readout.probabilities(logits_V)
        lever_V = self._lever_V
        finite = bool(torch.isfinite(logits_V).all())
        changes: tuple[float | None, float | None] = (None, None)
        if self._last is not None:
            before = self._last
            changes = (
                float(shares.readout_change(before[0], p_V, before[1], lever_V)),
                float(shares.geometry_change(before[0], p_V, before[1], lever_V)),
            )
        self._last = (p_V, lever_V)
        return Measurement(
            step=step,
            loss=float(readout.cross_entropy(logits_V, t)),
            logit_gap=float(readout.logit_gap(logits_V, t, c)),
            p_target=float(p_V[t]),
            p_competitor=float(p_V[c]),
            rank_target=int(readout.rank(logits_V, t)) if finite else None,
            rank_competitor=int(readout.rank(logits_V, c)) if finite else None,
            overlap=float(self._overlap),
            order_parameter=float(order_parameter.order_parameter(p_V, lever_V)),
            signal=float(signal.signal(p_V[t], p_V[c], self._overlap)),
            drag=float(drag.drag(p_V, lever_V, t, c)),
            readout_change=changes[0],
            geometry_change=changes[1],
            embedding_drift=self._drift(),
            gradient_norm=None,
            readout_hash=self._hash,
        )

    def _geometry(self) -> tuple[Tensor, Tensor]:
        pair = (self._tokens.target, self._tokens.competitor)
        rows_2V = overlap.overlap_rows(self._trainable.readout_Vd, pair)
        return rows_2V[0, self._tokens.competitor], order_parameter.lever(rows_2V)

    def _drift(self) -> float:
        if self._trainable.readout_frozen:
            return 0.0
        return drift.embedding_drift(self._trainable.readout_Vd, self._trainable.initial_readout_Vd)

    def _check_frozen(self, step: int) -> None:
        now = drift.readout_hash(self._trainable.readout_Vd)
        if now != self._hash:
            raise RuntimeError(
                f"the frozen readout matrix changed its bytes before step {step}: {self._hash} -> {now}"
            )


def with_gradient_norm(measurement: Measurement, gradient_norm: float) -> Measurement:
    """The same measurement with the norm of the gradient taken at its step."""
    return dataclasses.replace(measurement, gradient_norm=gradient_norm)
