"""Which kinds of lanes can train a problem, and the lanes of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

from phantom_dist.core.trial import Problem
from phantom_dist.engines.lanes.dual import Dual
from phantom_dist.engines.lanes.kind import Lanes, NotFusable, Shape
from phantom_dist.engines.lanes.lora import LoraLanes
from phantom_dist.engines.lanes.optimizer import LANE_OPTIMIZERS
from phantom_dist.engines.lanes.stacked import Stacked
from phantom_dist.engines.trainable import adapters, readout_matrix
from phantom_dist.models import LoadedModel

LaneKind = Literal["dual", "stacked", "lora"]

LANE_KINDS: tuple[LaneKind, ...] = get_args(LaneKind)


def kinds_of(problem: Problem) -> tuple[LaneKind, ...]:
    """The kinds of lanes that can train a problem; none where lanes don't support its optimizer or precision.

    The dual form needs an optimizer that is linear in the gradients: SGD. It keeps the steps' updates apart from the
    weights, whereas bfloat16 training rounds their sum at every step; so bfloat16 needs stacked lanes. So do batches of
    a training set: the dual form multiplies by the factors of all earlier tokens, which are soon more than the widths.
    """
    if unsupported(problem) is not None:
        return ()
    if problem.method == "lora":
        return ("lora",)
    is_linear = problem.optimizer.name == "sgd" and problem.precision == "float32"
    return ("dual", "stacked") if is_linear and problem.training is None else ("stacked",)


def leaves_weights(problem: Problem) -> bool:
    """Whether lanes train a problem without changing the model's weights, and a probe measures it so too.

    LoRA does. So does the dual form, whose probe needs an optimizer that starts along the gradient itself: without
    decay or clipping.
    """
    kinds = kinds_of(problem)
    plain = problem.optimizer.weight_decay == 0 and problem.gradient_clipping is None
    return "lora" in kinds or ("dual" in kinds and plain)


def require_support(problem: Problem) -> None:
    """Check that lanes support a problem's optimizer and precision.

    Raises:
        NotFusable: they don't.
    """
    reason = unsupported(problem)
    if reason is not None:
        raise NotFusable(reason)


def unsupported(problem: Problem) -> str | None:
    """Why lanes can't train a problem; None if they can."""
    if problem.optimizer.name not in LANE_OPTIMIZERS:
        return f"lanes don't support the optimizer {problem.optimizer.name}"
    return f"lanes don't support the precision {problem.precision}" if problem.is_mixed else None


def lanes_for(loaded: LoadedModel, firsts: Sequence[Problem], shape: Shape, kind: LaneKind) -> Lanes:
    """The lanes of a batch, from the problems of its first lanes, which share `Problem.lanes_config`.

    Raises:
        NotFusable: lanes don't support the optimizer or the precision.
    """
    problem, readout = firsts[0], readout_matrix(loaded.model)
    require_support(problem)
    match kind:
        case "dual":
            return Dual(problem.optimizer, shape, readout)
        case "stacked":
            return Stacked(problem.optimizer, shape, readout)
    loras = [first.lora for first in firsts if first.lora is not None]
    seeds = [first.seed for first in firsts]
    initial = [adapters(loaded, lora, seed) for lora, seed in zip(loras, seeds, strict=True)]
    return LoraLanes(problem.optimizer, shape, readout, initial, loras, seeds)
