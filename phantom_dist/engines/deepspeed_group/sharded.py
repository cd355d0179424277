"""A model that a group has loaded for one training configuration: full, or LoRA with the adapters of one seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers.integrations import HfDeepSpeedConfig

from phantom_dist.core.errors import InputError
from phantom_dist.core.trial import Lora, Problem
from phantom_dist.engines.deepspeed_group.ranks import Ranks
from phantom_dist.engines.deepspeed_group.readout import ShardedReadout, run_length
from phantom_dist.engines.deepspeed_group.zero import Zero, settings
from phantom_dist.engines.trainable import lora_targets, readout_matrix, with_adapters
from phantom_dist.models import Permissions
from phantom_dist.models.load import LoadedModel, load

LoadConfig = tuple[str, str, Lora | None, int, str]


@dataclass(frozen=True, kw_only=True)
class ShardedModel:
    """A model over all ranks. `whole` has the tokenizer and the module, whose weights stage 3 has sharded.

    `lora_targets`: as resolved before the adapters were inserted.
    """

    load_config: LoadConfig
    whole: LoadedModel
    zero: Zero
    readout: ShardedReadout
    vocabulary_size: int
    lora_targets: tuple[str, ...] | None


def load_config_of(problem: Problem) -> LoadConfig:
    """The settings that problems must share to be trained on one `ShardedModel`."""
    seed = problem.seed if problem.lora is not None else 0
    return problem.model, problem.precision, problem.lora, seed, problem.optimizer.name


def load_sharded(problem: Problem, stage: int, ranks: Ranks, permissions: Permissions) -> ShardedModel:
    """Load a problem's model as its method trains it. At stage 3 only rank 0 ever holds more than its share.

    Raises:
        InputError: as `models.load`, or a LoRA target that the model doesn't have, or a training that groups don't
            support.
    """
    what = None
    if problem.is_mixed:
        what = f"precision {problem.precision}"
    elif problem.decays_apart:
        what = f"decay {problem.optimizer.decay}"
    elif problem.lora is not None and problem.lora.dropout:
        what = "LoRA with dropout"  # its masks are drawn for a whole batch
    if what is not None:
        raise InputError(
            f"{what}: groups of ranks don't support it. Give the sweep workers with enough memory for its models."
        )
    with ranks.patient():
        # While this object lives, transformers builds and loads models as shards.
        sharding = HfDeepSpeedConfig(settings(stage, problem.weights_precision))
        whole = load(
            problem.model,
            precision=problem.weights_precision,
            device=ranks.device,
            allow_pickle=permissions.pickle,
            trust_remote_code=permissions.remote_code,
        )
        module: Any = whole.model
        targets = None
        if problem.lora is not None:
            targets = lora_targets(module, problem.lora)
            module = with_adapters(whole.model, problem.lora, problem.seed)
        zero = Zero(module, problem.optimizer, stage, problem.weights_precision)
        del sharding
    readout, vocabulary_size = _readout(whole.model, stage, ranks, frozen=problem.lora is not None)
    return ShardedModel(
        load_config=load_config_of(problem),
        whole=whole,
        zero=zero,
        readout=readout,
        vocabulary_size=vocabulary_size,
        lora_targets=targets,
    )


def _readout(model: Any, stage: int, ranks: Ranks, *, frozen: bool) -> tuple[ShardedReadout, int]:
    weight: Any = readout_matrix(model)
    vocabulary_size, width = getattr(weight, "ds_shape", weight.shape)
    shape = (int(vocabulary_size), int(width))
    run = run_length(shape, ranks.count)

    def shard() -> Tensor:
        if stage == 3:
            own: Tensor = weight.ds_tensor
            return own
        whole: Tensor = weight.detach().view(-1)
        return whole[ranks.rank * run : (ranks.rank + 1) * run]

    readout = ShardedReadout(shard, shape, ranks.rank, ranks.count, frozen=frozen)
    return readout, shape[0]
