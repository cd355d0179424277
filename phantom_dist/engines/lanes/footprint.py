"""Predicts the memory of one more lane from a model's dimensions; this limits how many lanes share a batch.

With K tokens, T steps, n layers of width d, vocabulary V, P parameters, adapters of rank r and b bytes a number:

    stacked      b P (2 + state)            its own weights, their gradients, the optimizer's state
    dual         b T (16 n K d + 2 V)       inputs and output gradients of every matrix at every step
    lora         b 16 n d r (2 + state)     adapters of four modules a layer, as for stacked
    all          b 40 n K d                 activations kept for one backward pass
                 8 · 16 V                   the instruments' distributions, float64

The optimizer's state is `Optimizer.state_size` numbers a parameter. 16 and 40 are measured: a llama block
has 14.7 d of distinct inputs and outputs; 40 comes from peaks of resident memory
(`tests/engines/test_footprint.py` compares the prediction with them).
"""

from __future__ import annotations

from phantom_dist.core.trial import Problem
from phantom_dist.engines.lanes.support import LaneKind
from phantom_dist.models.size import ModelSize

FACTOR_WIDTHS = 16
ADAPTER_WIDTHS = 16
ACTIVATION_WIDTHS = 40
INSTRUMENT_ROWS = 16


def lane_bytes(kind: LaneKind, problem: Problem, size: ModelSize, tokens: int, number: int = 4) -> float:
    """Bytes of one more lane of a kind, see the module's docstring.

    Args:
        kind: the kind of lanes.
        problem: what is trained.
        size: the model's dimensions.
        tokens: of a step.
        number: bytes of a number, 4 in float32.
    """
    block = size.layers * size.width
    state = 2 + problem.optimizer.state_size
    match kind:
        case "stacked":
            own = size.parameters * state
        case "dual":
            own = problem.steps * (FACTOR_WIDTHS * block * tokens + 2 * size.vocabulary_size)
        case "lora":
            assert problem.lora is not None
            own = ADAPTER_WIDTHS * block * problem.lora.rank * state
    return number * (own + ACTIVATION_WIDTHS * block * tokens) + 8 * INSTRUMENT_ROWS * size.vocabulary_size
