"""Which kind of lanes trains a problem, and the lanes of a batch."""

from __future__ import annotations

from collections.abc import Sequence

from phantom_dist.core.trial import Problem
from phantom_dist.engines.lanes.dual import Dual
from phantom_dist.engines.lanes.kind import Lanes, NotFusable, Shape
from phantom_dist.engines.lanes.lora import LoraLanes
from phantom_dist.engines.lanes.optimizer import LANE_OPTIMIZERS
from phantom_dist.engines.lanes.stacked import Stacked
from phantom_dist.engines.trainable import adapters, readout_matrix
from phantom_dist.models import LoadedModel


def kind_of(problem: Problem) -> str:
    """`lora`, `dual` or `stacked`.

    The dual form needs an optimizer that is linear in the gradients: SGD. It keeps the steps' updates apart from the
    weights, whereas bfloat16 training rounds their sum at every step; so bfloat16 needs stacked lanes. So do batches of
    a training set: the dual form multiplies by the factors of all earlier tokens, which are soon more than the widths.
    """
    if problem.method == "lora":
        return "lora"
    is_linear = problem.optimizer.name == "sgd" and problem.precision == "float32"
    return "dual" if is_linear and problem.training is None else "stacked"


def lanes_support(problem: Problem) -> bool:
    """Whether lanes support a problem's optimizer and precision; if not, the reference engine trains."""
    return _unsupported(problem) is None


def require_support(problem: Problem) -> None:
    """Check that lanes support a problem's optimizer and precision.

    Raises:
        NotFusable: they don't.
    """
    what = _unsupported(problem)
    if what is not None:
        raise NotFusable(f"lanes don't support {what}")


def _unsupported(problem: Problem) -> str | None:
    if problem.optimizer.name not in LANE_OPTIMIZERS:
        return f"the optimizer {problem.optimizer.name}"
    return f"the precision {problem.precision}" if problem.is_mixed else None


LONE_PAYS = 1e7
"""Parameters from which a single full lane beats the loop: 1.45 times as fast on SmolLM2-135M, 0.46 to 0.81 on the
zoo."""


def fusion_pays(problem: Problem, parameters: int, lanes: int) -> bool:
    """Whether this many lanes are faster than the reference, as `make bench-lanes` measured: always, if several."""
    return lanes > 1 or problem.method == "lora" or parameters >= LONE_PAYS


def lanes_for(loaded: LoadedModel, firsts: Sequence[Problem], shape: Shape, kind: str | None = None) -> Lanes:
    """The lanes of a batch, from the problems of its first lanes, which share one training configuration.

    Raises:
        NotFusable: lanes don't support the optimizer or the precision.
    """
    problem, readout = firsts[0], readout_matrix(loaded.model)
    require_support(problem)
    match kind or kind_of(problem):
        case "dual":
            return Dual(problem.optimizer, shape, readout)
        case "stacked":
            return Stacked(problem.optimizer, shape, readout)
    assert problem.lora is not None
    initial = [adapters(loaded, problem.lora, first.seed) for first in firsts]
    seeds = [first.seed for first in firsts]
    return LoraLanes(problem.optimizer, shape, readout, initial, problem.lora, seeds)
