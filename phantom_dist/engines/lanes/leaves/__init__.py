"""Leaves: the lane-aware replacements of modules that have parameters of their own.

To add one: a file with a class that derives from `leaf.Leaf`, and its line in `LEAVES`; from another package, an entry
point (`core.plugins`).
"""

from __future__ import annotations

import functools

from torch import nn

from phantom_dist.core import plugins
from phantom_dist.core.errors import InputError
from phantom_dist.engines.lanes.kind import NotFusable, Weights
from phantom_dist.engines.lanes.leaves.embedding import Embedding, OffsetPositions, ScaledEmbedding
from phantom_dist.engines.lanes.leaves.layer_norm import LayerNorm
from phantom_dist.engines.lanes.leaves.leaf import Leaf
from phantom_dist.engines.lanes.leaves.linear import Linear, TransposedLinear
from phantom_dist.engines.lanes.leaves.scaled_norm import ScaledNorm

LEAVES: tuple[type[Leaf], ...] = (
    Linear,
    TransposedLinear,
    Embedding,
    ScaledEmbedding,
    OffsetPositions,
    LayerNorm,
    ScaledNorm,
)
"""Tried in this order: the first whose `stands_for` accepts a module replaces it."""


def leaves_for(model: nn.Module, weights: Weights) -> dict[nn.Module, nn.Module]:
    """A leaf for every module of the model that has parameters of its own.

    Raises:
        NotFusable: one of them has no leaf.
    """
    replacements: dict[nn.Module, nn.Module] = {}
    for name, module in model.named_modules():
        if all(parameter is None for parameter in module._parameters.values()):
            continue
        kind = leaf_of(module)
        if kind is None:
            raise NotFusable(f"{name} is a {type(module).__name__}, for which lanes have no leaf")
        replacements[module] = kind(module, weights)
    return replacements


def leaf_of(module: nn.Module) -> type[Leaf] | None:
    """The leaf that replaces a module; None if there is none."""
    kind = next((kind for kind in LEAVES if kind.stands_for(module)), None)
    return kind or next((kind for kind in plugin_leaves() if kind.stands_for(module)), None)


@functools.cache
def plugin_leaves() -> list[type[Leaf]]:
    """Leaves of other packages, tried where none of `LEAVES` accepts a module.

    Raises:
        NotFusable: one can't be loaded. The reference engine needs no leaves, so this isn't fatal.
    """
    try:
        installed = plugins.installed(plugins.LEAVES)
        plugins.refuse_twins(installed)
        return [plugin.load(Leaf) for plugin in installed]
    except InputError as error:
        raise NotFusable(str(error)) from error


__all__ = ["LEAVES", "Leaf", "leaf_of", "leaves_for"]
