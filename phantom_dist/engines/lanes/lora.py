"""LoRA lanes: one frozen model for all, and adapters for each lane: y = x Wᵀ + s x Aᵀ Bᵀ.

Lanes may differ in rank, alpha, targets and dropout. All have the largest rank and the targets of any: what a lane's
own adapters lack is 0 in A and in B. There both gradients are 0, so it stays 0 under any optimizer and any decay.

Memory of a lane: its adapters, their gradients and the optimizer's state, and the activations of one backward pass.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, final

import torch
from torch import Tensor, nn

from phantom_dist.core.trial import Lora, Optimizer
from phantom_dist.engines.adapter_dropout import AdapterDropout
from phantom_dist.engines.lanes.frozen_matrix import shards_of
from phantom_dist.engines.lanes.kind import Lanes, Shape
from phantom_dist.engines.lanes.parameters import LaneTensor
from phantom_dist.engines.recorder import Geometry
from phantom_dist.engines.trainable import Adapters
from phantom_dist.instruments import drift, overlap


class AdaptedLinear(nn.Module):
    """Replaces a linear module that has an adapter in every lane."""

    def __init__(
        self,
        module: nn.Module,
        a_Lri: LaneTensor,
        b_Lor: LaneTensor,
        scale: Callable[[], float | Tensor],
        dropped: Callable[[Tensor], Tensor] = lambda x_LKi: x_LKi,
    ) -> None:
        super().__init__()
        self._dropped = dropped
        self._frozen: Callable[[Tensor], Tensor] = module.forward
        self._a, self._b, self._scale = a_Lri, b_Lor, scale

    def forward(self, x: Tensor) -> Tensor:
        """(L, …, i) -> (L, …, o), or (L · n, i) -> (L · n, o)."""
        a_Lri, b_Lor = self._a.value, self._b.value
        x_LKi = x.reshape(len(a_Lri), -1, x.shape[-1])
        y = self._frozen(x)
        x_LKi = self._dropped(x_LKi)
        low_LKr = torch.bmm(x_LKi, a_Lri.mT)
        scaled_LKr = (low_LKr * self._scale()).to(low_LKr.dtype)
        return y + torch.bmm(scaled_LKr, b_Lor.mT).reshape(y.shape)


class FrozenGeometry:
    """The geometry of a readout matrix that all lanes share and that must not change."""

    frozen = True

    def __init__(self, readout_Vd: nn.Parameter) -> None:
        self._readout_Vd = readout_Vd
        self._norms_V = overlap.row_norms(readout_Vd)
        self._hash = drift.ReadoutHash(readout_Vd)

    def watch(self, pairs_L2: Tensor) -> None:
        """A no-op: overlaps are measured once."""

    def overlap_rows(self, pairs_L2: Tensor, lanes: slice) -> Tensor:
        """See `recorder.Geometry`."""
        return overlap.pair_rows(self._readout_Vd, pairs_L2, self._norms_V)

    def drift(self) -> Sequence[float]:
        """Never called: this matrix is frozen."""
        raise NotImplementedError

    def hash(self) -> str:
        """See `recorder.Geometry`."""
        return self._hash()


@final
class LoraLanes(Lanes):
    """LoRA lanes.

    Args:
        optimizer, shape, readout: as for all lanes.
        initial: the adapters of each first lane, drawn as the reference draws them.
        loras: the settings of each first lane.
        seeds: the seed of each first lane, from which its dropout is drawn.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        shape: Shape,
        readout: nn.Parameter,
        initial: Sequence[Adapters],
        loras: Sequence[Lora],
        seeds: Sequence[int],
    ) -> None:
        super().__init__(optimizer, shape, readout)
        self._initial = initial
        self._loras = list(loras)
        self._seeds = list(seeds)
        self._scale = self._scales()
        self.dropout = AdapterDropout() if any(lora.dropout for lora in loras) else None

    def replacements(self, model: Any) -> dict[nn.Module, nn.Module]:
        """See `Lanes`. Modules without adapters stay: their weights are the same for all lanes."""
        replacements: dict[nn.Module, nn.Module] = {}
        rank = max(lora.rank for lora in self._loras)
        for name in dict.fromkeys(name for adapters in self._initial for name in adapters):
            pairs = [_with_rank(adapters.get(name), rank) for adapters in self._initial]
            a_ri, b_or = next(pair for pair in pairs if pair is not None)
            absent = torch.zeros_like(a_ri), torch.zeros_like(b_or)
            a_Lri, b_Lor = (torch.stack(factor) for factor in zip(*(p or absent for p in pairs), strict=True))
            module = model.get_submodule(name)
            replacements[module] = AdaptedLinear(
                module,
                self.parameters.vector(a_Lri, lanes=self.shape.first),
                self.parameters.vector(b_Lor, lanes=self.shape.first),
                lambda: self._scale,
                *([] if self.dropout is None else [functools.partial(self._dropped, self.dropout, name)]),
            )
        return replacements

    def _scales(self) -> float | Tensor:
        """What each lane's adapters are multiplied by: a number, or (L, 1, 1) where they differ."""
        scales = [lora.scale for lora in self._loras]
        if len(set(scales)) == 1:
            return scales[0]
        # In float32 also where the weights are bfloat16, which would round them.
        return torch.tensor(scales, dtype=torch.float32, device=self.readout.device)[:, None, None]

    def _dropped(self, dropout: AdapterDropout, name: str, x_LKi: Tensor) -> Tensor:
        """The inputs of a module's adapters after dropout, each lane's drawn from its own seed."""
        if not dropout.is_on:
            return x_LKi
        lanes = [(lora.dropout, seed) for lora, seed in zip(self._loras, self._seeds, strict=True)]
        masks = {lane: dropout.mask(*lane, name, x_LKi[0]) for lane in set(lanes)}
        return x_LKi * torch.stack([masks[lane] for lane in lanes])

    def select(self, index: Sequence[int]) -> None:
        """See `Lanes`."""
        super().select(index)
        self._seeds = [self._seeds[lane] for lane in index]
        self._loras = [self._loras[lane] for lane in index]
        self._scale = self._scales()

    def geometry(self) -> Geometry:
        """See `Lanes`."""
        sharded = shards_of(self.readout)
        geometry: Geometry = FrozenGeometry(self.readout) if sharded is None else sharded.geometry()
        return geometry


def _with_rank(pair: tuple[Tensor, Tensor] | None, rank: int) -> tuple[Tensor, Tensor] | None:
    """A module's A (r x i) and B (o x r) with zeros up to a rank; None where it has no adapter."""
    if pair is None:
        return None
    a_ri, b_or = pair
    more = rank - len(a_ri)
    return nn.functional.pad(a_ri, (0, 0, 0, more)), nn.functional.pad(b_or, (0, more))
