"""The engines of a single process, by name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

from phantom_dist.core.errors import InputError, did_you_mean
from phantom_dist.engines.engine import Engine
from phantom_dist.engines.lanes.engine import LanesEngine
from phantom_dist.engines.lanes.support import LANE_KINDS
from phantom_dist.engines.single import SingleEngine
from phantom_dist.engines.training_sets import TrainingSets
from phantom_dist.instruments.plugin_instruments import Named

_ENGINES: dict[str, Callable[[Sequence[Named], TrainingSets | None], Engine]] = {
    "auto": LanesEngine,
    "single": SingleEngine,
    "lanes": functools.partial(LanesEngine, ways=LANE_KINDS),
}


def engine_named(
    name: str, plugin_instruments: Sequence[Named] = (), training_sets: TrainingSets | None = None
) -> Engine:
    """The engine with this name (`engines.ENGINES`), measuring with these plug-in instruments too.

    `training_sets`: where it gets batches; None if no trial has any.

    Raises:
        InputError: there is no such engine.
    """
    if name not in _ENGINES:
        raise InputError(f"engine {name!r} doesn't exist.{did_you_mean(name, _ENGINES)}")
    return _ENGINES[name](plugin_instruments, training_sets)
