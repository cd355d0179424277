"""One untouched model in shards over the ranks of a group, for lanes: each rank trains its own.

DeepSpeed's ZeRO-3 loads it: no rank but rank 0 ever holds more than its share. Then the matrices of linear layers, the
embedding and the readout become `ShardedMatrix`es, which passes gather one after another, forward and backward. What
remains, gains, biases, positions, every rank has whole.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers.integrations import HfDeepSpeedConfig

from phantom_dist.core.measurement import Trial, TrialResult
from phantom_dist.core.trial import Problem
from phantom_dist.engines.deepspeed_group.group_lockstep import GroupLockstep
from phantom_dist.engines.deepspeed_group.ranks import Ranks
from phantom_dist.engines.deepspeed_group.sharded_matrix import Gathering, ShardedMatrix, ShardedReadoutMatrix
from phantom_dist.engines.deepspeed_group.zero import settings
from phantom_dist.engines.lanes.engine import LanesEngine
from phantom_dist.engines.lanes.frozen_matrix import (
    FrozenMatrix,
    Product,
    Transposed,
    frozen_matrix,
    set_shards,
)
from phantom_dist.engines.lanes.kind import Matrix, NotFusable, Vector
from phantom_dist.engines.lanes.leaves import leaf_of
from phantom_dist.engines.trainable import ADAPTABLE, readout_matrix
from phantom_dist.engines.training_sets import TrainingSets
from phantom_dist.instruments.plugin_instruments import Named
from phantom_dist.models import LoadedModel, Permissions, load

WHOLE = 0.1
"""The largest part of a model's parameters that may stay whole on every rank."""


@dataclass(frozen=True, kw_only=True)
class ShardedBase:
    """A model whose weights are spread over the ranks; every rank has the same `loaded`, with its own shards."""

    loaded: LoadedModel
    gathering: Gathering
    lockstep: GroupLockstep


def load_sharded_base(problem: Problem, ranks: Ranks, permissions: Permissions) -> ShardedBase:
    """Load a problem's model in shards.

    Raises:
        InputError: as `models.load`.
        NotFusable: too much of the model can't be sharded, or which weights it reads depends on the text.
    """
    with ranks.patient():
        # While this object lives, transformers builds and loads models as shards.
        sharding = HfDeepSpeedConfig(settings(3, problem.weights_precision))
        loaded = load(
            problem.model,
            precision=problem.weights_precision,
            device=ranks.device,
            allow_pickle=permissions.pickle,
            trust_remote_code=permissions.remote_code,
        )
        del sharding
        gathering = Gathering(ranks.rank, ranks.count)
        tables, readout = _shard(loaded.model, gathering)
    return ShardedBase(
        loaded=loaded, gathering=gathering, lockstep=GroupLockstep(gathering, tables, readout)
    )


class GroupLanesEngine(LanesEngine):
    """The engine `lanes` on one rank of a group; every rank gets the results of all.

    Raises (at `run`):
        NotFusable: trials that can't be lanes on a sharded model; nothing of them was trained.
    """

    def __init__(
        self,
        base: ShardedBase,
        plugin_instruments: Sequence[Named] = (),
        training_sets: TrainingSets | None = None,
    ) -> None:
        super().__init__(plugin_instruments, training_sets, ways=("dual", "lora"), lockstep=base.lockstep)

    def _config(self, trial: Trial) -> object:
        """Trials that share a batch: under LoRA of the same targets, on which it depends what a pass gathers."""
        lora = trial.problem.lora
        return super()._config(trial), None if lora is None else lora.targets

    def _by_reference(
        self, loaded: LoadedModel, trials: list[Trial], note: str | None
    ) -> Iterator[TrialResult]:
        raise NotFusable(note or "lanes don't support it on a sharded model")


def _shard(model: Any, gathering: Gathering) -> tuple[list[ShardedMatrix], ShardedReadoutMatrix]:
    """Keep this rank's rows of the model's matrices; returns those that are looked up, and the readout's."""
    if _chooses_experts(model.config.get_text_config()):
        raise NotFusable("which experts a text is read with, and so what has to be gathered, depends on the text")
    readout, embedding = readout_matrix(model), model.get_input_embeddings()
    owners: dict[int, list[tuple[nn.Module, str]]] = {}
    originals: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                owners.setdefault(id(parameter), []).append((module, name))
                originals[id(parameter)] = parameter
    sharded = {
        key
        for key, parameter in originals.items()
        if all(_multiplies(module) or module is embedding for module, _ in owners[key])
        and len(_shape(parameter)) == 2
    }
    whole = sum(_size(originals[key]) for key in originals.keys() - sharded)
    everything = sum(map(_size, originals.values()))
    if id(readout) not in sharded or whole > WHOLE * everything:
        raise NotFusable(
            f"{whole / everything:.0%} of {type(model).__name__} are in modules whose matrices can't be sharded"
        )
    tables: list[ShardedMatrix] = []
    for key, original in originals.items():
        parameter = _replacement(original, gathering, key in sharded, readout=original is readout)
        for module, name in owners[key]:
            module._parameters[name] = parameter
            if key in sharded and module is embedding:
                tables.append(frozen_matrix(parameter))  # type: ignore[arg-type]
    for module in model.modules():
        if module is embedding or _multiplies(module):
            leaf = leaf_of(module)
            assert leaf is not None
            module.forward = leaf(module, _Shared()).forward
    return tables, frozen_matrix(readout_matrix(model))  # type: ignore[return-value]


def _chooses_experts(config: Any) -> bool:
    return any("expert" in name and value for name, value in vars(config).items() if isinstance(value, int))


def _multiplies(module: nn.Module) -> bool:
    return type(module) in ADAPTABLE and leaf_of(module) is not None


def _shape(parameter: Any) -> tuple[int, ...]:
    return tuple(getattr(parameter, "ds_shape", parameter.shape))


def _size(parameter: nn.Parameter) -> int:
    return int(torch.Size(_shape(parameter)).numel())


def _replacement(
    original: nn.Parameter, gathering: Gathering, shards: bool, *, readout: bool
) -> nn.Parameter:
    """A parameter without DeepSpeed: whole, or NaN with shards."""
    import deepspeed

    with deepspeed.zero.GatheredParameters([original]):
        whole = original.detach()
        if not shards:
            return nn.Parameter(whole.clone())
        rows, width = whole.shape
        run = -(-rows // gathering.ranks)
        own_ci = whole.new_zeros(run, width)
        own = whole[gathering.rank * run : (gathering.rank + 1) * run]
        own_ci[: len(own)] = own
    # It has the shape, but no memory; and no number, should anything read it.
    parameter = nn.Parameter(own_ci.new_full((), torch.nan).expand(rows, width))
    set_shards(
        parameter, (ShardedReadoutMatrix if readout else ShardedMatrix)(own_ci, rows, gathering)
    )
    return parameter


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
