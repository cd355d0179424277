"""Linear layers: y = x Wᵀ + b."""

from __future__ import annotations

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from phantom_dist.engines.lanes.kind import Weights
from phantom_dist.engines.lanes.leaves.leaf import Leaf


class Linear(Leaf):
    """`nn.Linear`."""

    transposed = False

    def __init__(self, module: nn.Linear, weights: Weights) -> None:
        super().__init__(module, weights)
        self._weight = weights.matrix(module.weight, transposed=self.transposed)
        self._bias = None if module.bias is None else weights.vector(module.bias)

    @staticmethod
    def stands_for(module: nn.Module) -> bool:
        """Exactly nn.Linear, no subclass."""
        return type(module) is nn.Linear

    def forward(self, x: Tensor) -> Tensor:
        """(L, …, i) -> (L, …, o), or (L · n, i) -> (L · n, o)."""
        y = self._weight.product(x)
        if self._bias is None:
            return y
        bias_Lo = self._bias.value
        lanes, width = bias_Lo.shape
        return (y.reshape(lanes, -1, width) + bias_Lo[:, None]).reshape(y.shape)


class TransposedLinear(Linear):
    """transformers' `Conv1D`: a linear layer whose weight is stored as (i, o)."""

    transposed = True

    @staticmethod
    def stands_for(module: nn.Module) -> bool:
        """Exactly Conv1D, no subclass."""
        return type(module) is Conv1D
