"""Engines train trials and yield measurements; they write no files and know no cluster.

| file | what it is |
|---|---|
| `engine` | the interface |
| `single` | the reference: one trial after another, in plain torch; read it first |
| `watch` | the contexts that are watched in one training, and their traces |
| `training_sets` | batches of a training set, their loss, and its gradient on the untouched model |
| `probe` | measures the untouched model: gap, overlaps, κ; or refuses the pair |
| `set_probe` | the same on a training set: one sample, all words, and where a step overshoots |
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

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from phantom_dist.core.errors import InputError, did_you_mean

if TYPE_CHECKING:  # plans know engines by name, and do without torch
    from phantom_dist.engines.engine import Engine
    from phantom_dist.engines.training_sets import TrainingSets
    from phantom_dist.instruments.plugin_instruments import Named


def _auto(plugin_instruments: Sequence[Named], training_sets: TrainingSets | None) -> Engine:
    from phantom_dist.engines.lanes.engine import LanesEngine

    return LanesEngine(plugin_instruments, training_sets)


def _single(plugin_instruments: Sequence[Named], training_sets: TrainingSets | None) -> Engine:
    from phantom_dist.engines.single import SingleEngine

    return SingleEngine(plugin_instruments, training_sets)


def _lanes(plugin_instruments: Sequence[Named], training_sets: TrainingSets | None) -> Engine:
    from phantom_dist.engines.lanes.engine import LanesEngine
    from phantom_dist.engines.lanes.support import LANE_KINDS

    return LanesEngine(plugin_instruments, training_sets, LANE_KINDS)


ENGINES: dict[str, Callable[[Sequence[Named], TrainingSets | None], Engine]] = {
    "auto": _auto,
    "single": _single,
    "lanes": _lanes,
}
"""Single-process engines by name; `auto` trains each batch in the way that costs least (`lanes.cost`)."""

DEEPSPEED = "deepspeed"
"""The engine that trains one model on a group of processes."""

DEEPSPEED_OPTIMIZERS = ("sgd", "adamw")
"""Optimizers that it can reset between trials: their state is zero before the first step (NAdam's isn't)."""


def engine_named(
    name: str, plugin_instruments: Sequence[Named] = (), training_sets: TrainingSets | None = None
) -> Engine:
    """The engine with this name, measuring with these plug-in instruments too.

    `training_sets`: where it gets batches; None if no trial has any.

    Raises:
        InputError: there is no such engine.
    """
    if name not in ENGINES:
        raise InputError(f"engine {name!r} doesn't exist.{did_you_mean(name, ENGINES)}")
    return ENGINES[name](plugin_instruments, training_sets)
