"""The interface of leaves."""

from __future__ import annotations

from abc import abstractmethod

from torch import nn

from phantom_dist.engines.lanes.kind import Weights


class Leaf(nn.Module):
    """Replaces one module of the model and computes the same, lane by lane.

    Its `forward` has the module's signature. Activations have the lanes in their first axis: (L, …), or (L · n, …)
    where the model flattens them.
    """

    def __init__(self, module: nn.Module, weights: Weights) -> None:
        """Get a lane-aware counterpart of each of the module's parameters from `weights`.

        Don't make `module` itself a submodule of the leaf: its parameters are not trained.
        """
        super().__init__()

    @staticmethod
    @abstractmethod
    def stands_for(module: nn.Module) -> bool:
        """True if this leaf computes the same as the module. Compare exact types: a subclass may compute otherwise."""
