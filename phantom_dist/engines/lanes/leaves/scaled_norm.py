"""RMSNorm and its relatives: x / sqrt(mean(x²) + ε) · gain, as each architecture writes it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from phantom_dist.engines.lanes.kind import Weights
from phantom_dist.engines.lanes.leaves.leaf import Leaf


class ScaledNorm(Leaf):
    """A norm written with tensor operations and multiplied by a gain: transformers' …RMSNorm and …LayerNorm.

    It runs the architecture's own code, with its gain temporarily replaced by one that has a row for each lane.
    """

    def __init__(self, module: nn.Module, weights: Weights) -> None:
        super().__init__(module, weights)
        self._norm = module.forward
        self._slots: dict[str, Any] = module._parameters
        self._vectors = {name: weights.vector(p) for name, p in module._parameters.items() if p is not None}

    @staticmethod
    def stands_for(module: nn.Module) -> bool:
        """Classes with such a name whose only parameters are a gain, and maybe a bias, that broadcast."""
        return (
            type(module).__name__.endswith(("RMSNorm", "LayerNorm"))
            and set(module._parameters) <= {"weight", "bias"}
            and not list(module.children())
            and _broadcasts(module)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(L, …, d) or (L · n, d) -> the same."""
        own = dict(self._slots)
        values = {name: vector.value for name, vector in self._vectors.items()}
        gain = next(iter(values.values()))
        try:
            self._slots.update({name: value[:, None] for name, value in values.items()})
            y: Tensor = self._norm(x.reshape(len(gain), -1, *gain.shape[1:]))
            return y.reshape(x.shape)
        finally:
            self._slots.update(own)


_verdicts: dict[type[nn.Module], bool] = {}


def _broadcasts(module: nn.Module) -> bool:
    """Whether two stacked gains give the same as each gain separately; tried once for each class."""
    kind = type(module)
    if kind not in _verdicts:
        _verdicts[kind] = _try(module)
    return _verdicts[kind]


def _try(module: nn.Module) -> bool:
    slots: dict[str, Any] = module._parameters
    own = dict(slots)
    shape = next(p.shape for p in own.values() if p is not None)
    generator = torch.Generator().manual_seed(0)
    x_23d = torch.randn(2, 3, *shape, generator=generator)
    gains = {name: torch.randn(2, 1, *shape, generator=generator) for name, p in own.items() if p is not None}
    try:
        with torch.no_grad():
            slots.update(gains)
            stacked = module.forward(x_23d)
            separate = []
            for lane in range(2):
                slots.update({name: gain[lane, 0] for name, gain in gains.items()})
                separate.append(module.forward(x_23d[lane]))
    except RuntimeError:
        return False
    finally:
        slots.update(own)
    return torch.allclose(stacked, torch.stack(separate))
