"""LayerNorm: (x - mean) / sqrt(variance + ε) · gain + bias."""

from __future__ import annotations

from torch import Tensor, nn

from phantom_dist.engines.lanes.kind import Weights
from phantom_dist.engines.lanes.leaves.leaf import Leaf


class LayerNorm(Leaf):
    """`nn.LayerNorm`."""

    def __init__(self, module: nn.LayerNorm, weights: Weights) -> None:
        super().__init__(module, weights)
        self._shape, self._epsilon = module.normalized_shape, module.eps
        self._gain = None if module.weight is None else weights.vector(module.weight)
        self._bias = None if module.bias is None else weights.vector(module.bias)

    @staticmethod
    def stands_for(module: nn.Module) -> bool:
        """Exactly nn.LayerNorm, no subclass."""
        return type(module) is nn.LayerNorm

    def forward(self, x: Tensor) -> Tensor:
        """(L, …, d) or (L · n, d) -> the same."""
        y = nn.functional.layer_norm(x, self._shape, eps=self._epsilon)
        for vector, apply in ((self._gain, Tensor.mul), (self._bias, Tensor.add)):
            if vector is not None:
                value = vector.value
                y = apply(y.reshape(len(value), -1, *self._shape), value[:, None])
        return y.reshape(x.shape)
