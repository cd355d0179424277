"""Turns a model that ZeRO-3 has loaded into one in shards, without DeepSpeed: its matrices become `ShardedMatrix`es.

These are the matrices of linear layers, the embedding and the readout. Everything else (gains, biases, positions) every
rank has whole. The modules stay the model's own; those with shards compute what their leaf does (`lanes.leaves`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from phantom_dist.engines.deepspeed_group.sharded_matrix import Gathering, ShardedMatrix, ShardedReadoutMatrix
from phantom_dist.engines.deepspeed_group.shared_pages import SharedPages, room, view
from phantom_dist.engines.lanes.frozen_matrix import (
    FrozenMatrix,
    Product,
    Transposed,
    frozen_matrix,
    set_shards,
    shards_of,
)
from phantom_dist.engines.lanes.kind import Matrix, NotFusable, Vector
from phantom_dist.engines.lanes.leaves import leaf_of
from phantom_dist.engines.trainable import ADAPTABLE, readout_matrix

WHOLE = 0.1
"""The largest part of a model's parameters that may stay whole on every rank."""


@dataclass(kw_only=True, eq=False)
class _Loaded:
    """A parameter as DeepSpeed has loaded it, and the modules that have it."""

    parameter: nn.Parameter
    owners: list[tuple[nn.Module, str]] = field(default_factory=list)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(getattr(self.parameter, "ds_shape", self.parameter.shape))

    @property
    def size(self) -> int:
        return int(torch.Size(self.shape).numel())


def shard(model: Any, gathering: Gathering, *, in_place: bool) -> tuple[ShardedMatrix, ShardedReadoutMatrix]:
    """Keep this rank's rows of the model's matrices. Collective.

    Args:
        model: as ZeRO-3 has loaded it.
        gathering: that of this rank.
        in_place: whether ranks of one machine read each other's shards in place, where they can.

    Returns:
        The embedding and the readout, which may be the same.

    Raises:
        NotFusable: too much of the model can't be sharded, or what has to be gathered depends on the text.
    """
    parameters = _parameters(model)
    shardable = _shardable(model, parameters)
    pages = None
    if in_place and hasattr(os, "memfd_create") and model.device.type == "cpu":
        shapes = [(-(-loaded.shape[0] // gathering.ranks), loaded.shape[1]) for loaded in shardable]
        pages = SharedPages(gathering.rank, gathering.ranks, room(shapes, model.dtype.itemsize))
    readout = readout_matrix(model)
    places: dict[ShardedMatrix, int] = {}
    for loaded in parameters:
        if loaded in shardable:
            is_readout = loaded.parameter is readout
            parameter, matrix, places[matrix] = _sharded(loaded, gathering, pages, is_readout=is_readout)
        else:
            parameter = _whole(loaded)
        for module, name in loaded.owners:
            module._parameters[name] = parameter
    for module in dict.fromkeys(module for loaded in shardable for module, _ in loaded.owners):
        leaf = leaf_of(module)
        assert leaf is not None
        module.forward = leaf(module, _Shared()).forward
    mapped = None if pages is None else pages.map_others()
    if mapped is not None:
        for matrix, begin in places.items():
            rows, width = matrix.own_ci.shape
            matrix.shards = [view(others, begin, (rows, width), matrix.own_ci.dtype) for others in mapped]
    return shards_of(model.get_input_embeddings().weight), shards_of(readout_matrix(model))


def _parameters(model: nn.Module) -> list[_Loaded]:
    found: dict[int, _Loaded] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                found.setdefault(id(parameter), _Loaded(parameter=parameter)).owners.append((module, name))
    return list(found.values())


def _shardable(model: Any, parameters: list[_Loaded]) -> list[_Loaded]:
    """The matrices that become shards.

    Raises:
        NotFusable: see `shard`.
    """
    if _chooses_experts(model.config.get_text_config()):
        raise NotFusable("which experts read a text, and so what has to be gathered, depends on the text")
    embedding, readout = model.get_input_embeddings(), readout_matrix(model)

    def has_leaf(module: nn.Module) -> bool:
        return (module is embedding or type(module) in ADAPTABLE) and leaf_of(module) is not None

    shardable = [
        loaded
        for loaded in parameters
        if len(loaded.shape) == 2 and all(has_leaf(module) for module, _ in loaded.owners)
    ]
    everything = sum(loaded.size for loaded in parameters)
    whole = everything - sum(loaded.size for loaded in shardable)
    needed = {id(embedding.weight), id(readout)} - {id(loaded.parameter) for loaded in shardable}
    if needed or whole > WHOLE * everything:
        raise NotFusable(
            f"{whole / everything:.0%} of {type(model).__name__} are in modules whose matrices can't be sharded"
        )
    return shardable


def _chooses_experts(config: Any) -> bool:
    return any("expert" in name and value for name, value in vars(config).items() if isinstance(value, int))


def _whole(loaded: _Loaded) -> nn.Parameter:
    """A parameter without DeepSpeed, whole on every rank."""
    import deepspeed

    with deepspeed.zero.GatheredParameters([loaded.parameter]):
        return nn.Parameter(loaded.parameter.detach().clone())


def _sharded(
    loaded: _Loaded, gathering: Gathering, pages: SharedPages | None, *, is_readout: bool
) -> tuple[nn.Parameter, ShardedMatrix, int]:
    """A parameter without DeepSpeed, in shards; its matrix, and where this rank's shard begins in its pages."""
    import deepspeed

    rows, width = loaded.shape
    run = -(-rows // gathering.ranks)
    with deepspeed.zero.GatheredParameters([loaded.parameter]):
        whole = loaded.parameter.detach()
        if pages is None:
            own_ci, begin = whole.new_zeros(run, width), 0
        else:
            own_ci, begin = pages.take((run, width), whole.dtype)
        own = whole[gathering.rank * run : (gathering.rank + 1) * run]
        own_ci[: len(own)] = own
    matrix = (ShardedReadoutMatrix if is_readout else ShardedMatrix)(own_ci, rows, gathering)
    # It has the shape, but no memory; and no number, should anything read it.
    parameter = nn.Parameter(own_ci.new_full((), torch.nan).expand(rows, width))
    set_shards(parameter, matrix)
    return parameter, matrix, begin


class _Shared:
    """What leaves compute with where all lanes share the untouched weights; a `kind.Weights`."""

    def vector(self, parameter: Tensor) -> Vector:
        """See `Weights`."""
        return _SharedVector(parameter)

    def matrix(self, parameter: Tensor, *, transposed: bool = False) -> Matrix:
        """See `Weights`."""
        matrix = frozen_matrix(parameter)
        return _SharedProduct(Transposed(matrix) if transposed else matrix)

    def table(self, parameter: Tensor) -> FrozenMatrix:
        """See `Weights`."""
        return frozen_matrix(parameter)


class _SharedVector:
    def __init__(self, parameter: Tensor) -> None:
        self._parameter = parameter

    @property
    def value(self) -> Tensor:
        return self._parameter.detach()[None]


class _SharedProduct:
    def __init__(self, matrix: Product) -> None:
        self._matrix = matrix

    def product(self, x: Tensor) -> Tensor:
        y: Tensor = _Product.apply(x, self._matrix)  # type: ignore[no-untyped-call]
        return y


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: Product) -> Tensor:
        ctx.matrix = matrix
        return matrix.times_transposed(x)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        return ctx.matrix.times(dy), None
