"""LoRA lanes: one frozen model for all, and adapters for each lane: y = x Wᵀ + s x Aᵀ Bᵀ.

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
from phantom_dist.engines.lanes.kind import Lanes, Shape
from phantom_dist.engines.lanes.parameters import LaneTensor
from phantom_dist.engines.trainable import Adapters
from phantom_dist.instruments import drift, overlap


class AdaptedLinear(nn.Module):
    """Replaces a linear module that has an adapter in every lane."""

    def __init__(
        self,
        module: nn.Module,
        a_Lri: LaneTensor,
        b_Lor: LaneTensor,
        scale: float,
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
        return y + (torch.bmm(torch.bmm(x_LKi, a_Lri.mT) * self._scale, b_Lor.mT)).reshape(y.shape)


class FrozenGeometry:
    """The geometry of a readout matrix that all lanes share and that must not change."""

    frozen = True

    def __init__(self, readout_Vd: nn.Parameter) -> None:
        self._readout_Vd = readout_Vd
        self._norms_V = overlap.row_norms(readout_Vd)
        self._hash = drift.ReadoutHash(readout_Vd)

    def prepare(self, pairs_L2: Tensor) -> None:
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
        lora: their settings.
        seeds: the seed of each first lane, from which its dropout is drawn.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        shape: Shape,
        readout: nn.Parameter,
        initial: Sequence[Adapters],
        lora: Lora,
        seeds: Sequence[int],
    ) -> None:
        super().__init__(optimizer, shape, readout)
        self._initial = initial
        self._scale = lora.scale
        self._seeds = list(seeds)
        self.dropout = AdapterDropout(lora.dropout) if lora.dropout else None

    def replacements(self, model: Any) -> dict[nn.Module, nn.Module]:
        """See `Lanes`. Modules without adapters stay: their weights are the same for all lanes."""
        replacements: dict[nn.Module, nn.Module] = {}
        for name in self._initial[0]:
            a_Lri = torch.stack([adapters[name][0] for adapters in self._initial])
            b_Lor = torch.stack([adapters[name][1] for adapters in self._initial])
            module = model.get_submodule(name)
            replacements[module] = AdaptedLinear(
                module,
                self.parameters.vector(a_Lri, lanes=self.shape.first),
                self.parameters.vector(b_Lor, lanes=self.shape.first),
                self._scale,
                *([] if self.dropout is None else [functools.partial(self._dropped, self.dropout, name)]),
            )
        return replacements

    def _dropped(self, dropout: AdapterDropout, name: str, x_LKi: Tensor) -> Tensor:
        """The inputs of a module's adapters after dropout, each lane's drawn from its own seed."""
        if not dropout.is_on:
            return x_LKi
        masks = {seed: dropout.mask(seed, name, x_LKi[0]) for seed in set(self._seeds)}
        return x_LKi * torch.stack([masks[seed] for seed in self._seeds])

    def select(self, index: Sequence[int]) -> None:
        """See `Lanes`."""
        super().select(index)
        self._seeds = [self._seeds[lane] for lane in index]

    def geometry(self) -> FrozenGeometry:
        """See `Lanes`."""
        return FrozenGeometry(self.readout)
