"""Models too large for one worker: one trial at a time on a group of ranks, with DeepSpeed's ZeRO. The only package
that imports deepspeed.

Of a single prompt all ranks compute the same gradient, whose mean over the ranks is that of the reference engine: ZeRO
divides memory here. With a training set the ranks share each batch's sequences, and the prompts that are watched. Stage
2 shards gradients, optimizer state and master weights; stage 3 the weights as well. Everything here is collective: all
ranks of a group call the same functions in the same order.

| file | what it does |
|---|---|
| `ranks` | the group's connections, and how long one rank waits for another |
| `zero` | one model under ZeRO: logits, gradients, steps, and the reset to the untouched weights |
| `readout` | the instruments' view of the sharded readout matrix |
| `sharded` | a model with its tokenizer, loaded by a group for one way of training |
| `engine` | trials and probes on such a model |

On the zoo, gaps differ from the reference engine's by at most 1e-4 over 8 steps, up to a trial's first jump
(`tests/engines/test_deepspeed_group.py`).
"""

from phantom_dist.engines.deepspeed_group.engine import DeepSpeedEngine
from phantom_dist.engines.deepspeed_group.ranks import Ranks, listen
from phantom_dist.engines.deepspeed_group.sharded import ShardedModel, load_config_of, load_sharded

__all__ = ["DeepSpeedEngine", "Ranks", "ShardedModel", "listen", "load_config_of", "load_sharded"]
