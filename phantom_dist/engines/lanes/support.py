"""Which kinds of lanes can train a problem, and when the dual form probes it; plans ask, without torch."""

from __future__ import annotations

from typing import Literal, get_args

from phantom_dist.core.probe_result import PathProbe
from phantom_dist.core.trial import Problem

LaneKind = Literal["dual", "stacked", "lora"]

LANE_KINDS: tuple[LaneKind, ...] = get_args(LaneKind)

OPTIMIZERS = ("sgd", "adamw")
"""The optimizers that lanes support (`optimizer.LANE_OPTIMIZERS` has them)."""

GRADIENTS = 6 + PathProbe.MORE
"""The most gradients that can be computed: of the loss and of the gap at the start, at up to four points of a path, and
at the further points of a path that doesn't close."""

TOKENS = 128
"""Longer prompts are probed in `ParameterCoordinates`: the cost of the factors' products is quadratic in the prompt's
length. A path of five points on SmolLM2-135M, one thread: 5.2 against 20.5 s at 60 tokens, 8.6 against 24 at 120, 24
against 31 at 250, 78 against 40 at 500."""

PARAMETERS = 1e7
"""Smaller models are probed in `ParameterCoordinates`, as their steps are calls rather than bytes: a lone dual lane
takes 0.46 to 0.81 of the reference's steps a second on the zoo, 1.45 on SmolLM2-135M."""


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


def unsupported(problem: Problem) -> str | None:
    """Why lanes can't train a problem; None if they can."""
    if problem.optimizer.name not in OPTIMIZERS:
        return f"lanes don't support the optimizer {problem.optimizer.name}"
    return f"lanes don't support the precision {problem.precision}" if problem.is_mixed else None


def dual_pays(problem: Problem, parameters: int, tokens: int) -> bool:
    """Whether to probe a problem with this many prompt tokens in the dual form, which requires u = ∇L."""
    applies = problem.method == "full" and leaves_weights(problem)
    return applies and tokens <= TOKENS and parameters >= PARAMETERS
