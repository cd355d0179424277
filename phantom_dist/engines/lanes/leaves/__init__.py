"""The kinds of leaves: modules with parameters of their own, and what stands for them in a fused model.

To add one: a file with a class that derives from `leaf.Leaf`, and its line in `LEAVES`; from another package, an entry
point (`core.plugins`).
"""

from __future__ import annotations

import functools

from torch import nn

from phantom_dist.core import plugins
from phantom_dist.core.errors import InputError
from phantom_dist.engines.lanes.kind import FullLanes, NotFusable
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
"""In the order in which they are asked."""


def leaves_for(model: nn.Module, lanes: FullLanes) -> dict[nn.Module, nn.Module]:
    """A leaf for every module of the model that has parameters of its own.

    Raises:
        NotFusable: nothing stands for one of them.
    """
    found: dict[nn.Module, nn.Module] = {}
    for name, module in model.named_modules():
        if all(parameter is None for parameter in module._parameters.values()):
            continue
        kind = next((kind for kind in LEAVES if kind.stands_for(module)), None)
        kind = kind or next((kind for kind in _of_other_packages() if kind.stands_for(module)), None)
        if kind is None:
            raise NotFusable(f"{name} is a {type(module).__name__}, and no kind of leaf stands for that")
        found[module] = kind(module, lanes)
    return found


@functools.cache
def _of_other_packages() -> list[type[Leaf]]:
    """Their leaves, asked for where none of ours stands for a module.

    Raises:
        NotFusable: one can't be loaded; the reference engine does without leaves.
    """
    try:
        found = plugins.installed(plugins.LEAVES)
        plugins.refuse_twins(found)
        return [plugin.load(Leaf) for plugin in found]
    except InputError as error:
        raise NotFusable(str(error)) from error


__all__ = ["LEAVES", "Leaf", "leaves_for"]
