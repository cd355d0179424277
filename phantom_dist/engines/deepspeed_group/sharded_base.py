"""One untouched model in shards over the ranks of a group, for lanes: each rank trains its own.

DeepSpeed's ZeRO-3 loads it: no rank but rank 0 ever holds more than its share. Then its matrices become
`ShardedMatrix`es (`sharding`), which passes gather one after another, forward and backward.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from transformers.integrations import HfDeepSpeedConfig

from phantom_dist.core.measurement import Trial, TrialResult
from phantom_dist.core.trial import Problem
from phantom_dist.engines.deepspeed_group.group_lockstep import GroupLockstep
from phantom_dist.engines.deepspeed_group.ranks import Ranks
from phantom_dist.engines.deepspeed_group.sharded_matrix import Gathering
from phantom_dist.engines.deepspeed_group.sharding import shard
from phantom_dist.engines.deepspeed_group.zero import settings
from phantom_dist.engines.lanes.engine import LanesEngine
from phantom_dist.engines.lanes.kind import NotFusable
from phantom_dist.engines.training_sets import TrainingSets
from phantom_dist.instruments.plugin_instruments import Named
from phantom_dist.models import Permissions
from phantom_dist.models.load import LoadedModel, load


@dataclass(frozen=True, kw_only=True)
class ShardedBase:
    """A model whose weights are spread over the ranks; every rank has the same `loaded`, with its own shards."""

    loaded: LoadedModel
    gathering: Gathering
    lockstep: GroupLockstep


def load_sharded_base(
    problem: Problem, ranks: Ranks, permissions: Permissions, *, in_place: bool = True
) -> ShardedBase:
    """Load a problem's model in shards.

    Args:
        problem: names the model and its precision.
        ranks: this rank's connections.
        permissions: as for `models.load`.
        in_place: whether ranks of one machine read each other's shards in place, where they can.

    Raises:
        InputError: as `models.load`.
        NotFusable: as `sharding.shard`.
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
        embedding, readout = shard(loaded.model, gathering, in_place=in_place)
    return ShardedBase(
        loaded=loaded, gathering=gathering, lockstep=GroupLockstep(gathering, embedding, readout)
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
