"""Models too large for one worker, on a group of ranks, with ZeRO. The only package that imports deepspeed.

Trainings that leave the model's weights as they are (LoRA and dual lanes) share one model in shards, which passes
gather matrix by matrix, and each rank trains lanes of its own: N times the lanes for 1/N of the model's memory. All
others are trained one at a time by all ranks. Of a single prompt all ranks then compute the same gradient, whose mean
over the ranks is that of the reference engine: ZeRO divides memory here. With a training set the ranks share each
batch's sequences, and the prompts that are watched. Stage 2 shards gradients, optimizer state and master weights; stage
3 the weights as well. Everything here is collective: all ranks of a group call the same functions in the same order.

| file | what it does |
|---|---|
| `ranks` | the group's connections, and how long one rank waits for another |
| `zero` | one model under ZeRO: logits, gradients, steps, and the reset to the untouched weights |
| `readout` | the instruments' view of the sharded readout matrix |
| `sharded` | a model with its tokenizer, loaded by a group for one way of training |
| `engine` | trials and probes on such a model |
| `sharded_base` | one untouched model in shards, for lanes of each rank's own |
| `sharding`, `sharded_matrix` | turn a loaded model's matrices into shards; such a matrix |
| `shared_pages` | memory of one rank that the others on its machine read in place |
| `group_lockstep` | ranks with lanes of their own make the same passes at the same time |

On the zoo, gaps differ from the reference engine's by at most 1e-4 over 8 steps, up to a trial's first jump
(`tests/engines/test_deepspeed_group.py`).
"""

from phantom_dist.engines.deepspeed_group.engine import DeepSpeedEngine
from phantom_dist.engines.deepspeed_group.ranks import Ranks, listen
from phantom_dist.engines.deepspeed_group.sharded import ShardedModel, load_config_of, load_sharded
from phantom_dist.engines.deepspeed_group.sharded_base import GroupLanesEngine, ShardedBase, load_sharded_base

__all__ = [
    "DeepSpeedEngine",
    "GroupLanesEngine",
    "Ranks",
    "ShardedBase",
    "ShardedModel",
    "listen",
    "load_config_of",
    "load_sharded",
    "load_sharded_base",
]
