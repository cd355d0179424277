"""The lanes of a batch."""

from __future__ import annotations

from collections.abc import Sequence

from phantom_dist.core.trial import Problem
from phantom_dist.engines import kept_memory
from phantom_dist.engines.lanes.dual import Dual
from phantom_dist.engines.lanes.kind import Lanes, NotFusable, Shape
from phantom_dist.engines.lanes.lora import LoraLanes
from phantom_dist.engines.lanes.stacked import Stacked
from phantom_dist.engines.lanes.support import LaneKind, unsupported
from phantom_dist.engines.trainable import adapters, readout_matrix
from phantom_dist.models.load import LoadedModel


def require_support(problem: Problem) -> None:
    """Check that lanes support a problem's optimizer and precision.

    Raises:
        NotFusable: they don't.
    """
    reason = unsupported(problem)
    if reason is not None:
        raise NotFusable(reason)


def lanes_for(loaded: LoadedModel, firsts: Sequence[Problem], shape: Shape, kind: LaneKind) -> Lanes:
    """The lanes of a batch, from the problems of its first lanes, which share `Problem.lanes_config`.

    Raises:
        NotFusable: lanes don't support the optimizer or the precision.
    """
    problem, readout = firsts[0], readout_matrix(loaded.model)
    require_support(problem)
    if kind != "dual":
        kept_memory.drop()  # only dual lanes have buffers that the next batch can use
    match kind:
        case "dual":
            return Dual(problem.optimizer, shape, readout)
        case "stacked":
            return Stacked(problem.optimizer, shape, readout)
    loras = [first.lora for first in firsts if first.lora is not None]
    seeds = [first.seed for first in firsts]
    initial = [adapters(loaded, lora, seed) for lora, seed in zip(loras, seeds, strict=True)]
    return LoraLanes(problem.optimizer, shape, readout, initial, loras, seeds)
