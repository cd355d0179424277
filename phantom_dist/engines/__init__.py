"""Engines train trials and yield measurements; they write no files and know no cluster.

| file | what it is |
|---|---|
| `engine`, `registry` | the interface; the engines by name |
| `single` | the reference: one trial after another, in plain torch; read it first |
| `watch` | the contexts that are watched in one training, and their traces |
| `training_sets` | batches of a training set, their loss, and its gradient on the untouched model |
| `probe` | measures the untouched model: gap, overlaps, κ; or refuses the pair |
| `path/` | the path probe: gradients at a few points of a training, and the critical rate that follows |
| `coordinates` | the vector space around the untouched weights in which a probe moves |
| `lanes/` | many trials as one batch; exact within a stated tolerance |
| `deepspeed_group/` | one trial on several processes, for models that don't fit one |
| `optimizers` | the torch optimizer of a trial's settings |
| `adapter_dropout` | dropout before adapters, the same in every batch |
| `precision` | autocast of the forward pass |
| `trainable` | full fine-tuning or LoRA: which parameters train, and how the untouched model is restored |
| `objective` | the loss that is trained on, and the gap that it should close |
| `recorder` | all instruments at one step |
| `memory`, `kept_memory` | free memory, one exception where it is exhausted; buffers that batches leave to each other |
"""

DEEPSPEED = "deepspeed"
"""The engine that trains one model on a group of processes."""

DEEPSPEED_OPTIMIZERS = ("sgd", "adamw")
"""Optimizers that it can reset between trials: their state is zero before the first step (NAdam's isn't)."""

ENGINES = ("auto", "single", "lanes")
"""Single-process engines by name (`registry`); `auto` trains each batch in the way that costs least (`lanes.cost`)."""
