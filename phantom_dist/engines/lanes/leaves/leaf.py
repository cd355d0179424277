"""The interface of leaves."""

from __future__ import annotations

from abc import abstractmethod

from torch import nn

from phantom_dist.engines.lanes.kind import FullLanes


class Leaf(nn.Module):
    """Stands for one module of the model and computes the same, lane by lane.

    Called as the module is; activations have the lanes in their first axis: (L, …), or (L · n, …) where the model
    flattens them.
    """

    def __init__(self, module: nn.Module, lanes: FullLanes) -> None:
        """Ask `lanes` for what the module's parameters become.

        `module` itself must not become a submodule of the leaf: its parameters are not trained.
        """
        super().__init__()

    @staticmethod
    @abstractmethod
    def stands_for(module: nn.Module) -> bool:
        """True if this leaf computes what the module does. Subclasses may compute something else: ask for the type."""
