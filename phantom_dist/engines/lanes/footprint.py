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

from phantom_dist.core.trial import Optimizer

FACTOR_WIDTHS = 16
ADAPTER_WIDTHS = 16
ACTIVATION_WIDTHS = 40
INSTRUMENT_ROWS = 16


def lane_bytes(
    *,
    kind: str,
    optimizer: Optimizer,
    rank: int,
    steps: int,
    tokens: int,
    parameters: int,
    width: int,
    layers: int,
    vocabulary_size: int,
    number: int,
) -> float:
    """Bytes of one more lane, see the module's docstring; `number` is the size of one number, 4 bytes in float32."""
    block = layers * width
    match kind:
        case "stacked":
            own = parameters * (2 + optimizer.state_size)
        case "dual":
            own = steps * (FACTOR_WIDTHS * block * tokens + 2 * vocabulary_size)
        case _:
            own = ADAPTER_WIDTHS * block * rank * (2 + optimizer.state_size)
    return number * (own + ACTIVATION_WIDTHS * block * tokens) + 8 * INSTRUMENT_ROWS * vocabulary_size
