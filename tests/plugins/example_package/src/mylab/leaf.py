"""What lanes need to know to train a gain: every lane has its own."""

from __future__ import annotations

from torch import Tensor, nn

from mylab.architecture import Gain
from phantom_dist.engines.lanes.kind import FullLanes
from phantom_dist.engines.lanes.leaves import Leaf


class GainLeaf(Leaf):
    """`Gain`, lane by lane."""

    def __init__(self, module: Gain, lanes: FullLanes) -> None:
        super().__init__(module, lanes)
        self._gain = lanes.vector(module.gain)

    @staticmethod
    def stands_for(module: nn.Module) -> bool:
        return type(module) is Gain

    def forward(self, x: Tensor) -> Tensor:
        return x * self._gain.value[:, None]
