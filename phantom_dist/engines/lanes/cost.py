"""Predicts the time of a trial-step on the reference engine and as a lane of each kind; the cheapest trains.

With K tokens, B parameters in the matrices of the body, P in all, n layers of width d, L lanes and a trial of T steps,
a trial-step takes on average

                operations                      bytes moved                      calls
    reference   6 B K, under LoRA 4 B K         (30 + 12 state) P, LoRA 12 P     2 n
    stacked     6 B K                           (30 + 12 state) P                2 n / L
    dual        4 B K + 65 n d K² T / 2         8 P / L + 130 n d K T / 2        6 n / L
    lora        4 B K                           8 P / L                          3 n / L

The reference reads the weights twice, writes and reads their gradients, and updates the weights and the optimizer's
state. Lanes of the last two kinds share one reading of the weights, which need no gradient. The factors of a llama
block, d to 2.7 d wide, are multiplied with those of all earlier steps four times: 32 d numbers for each pair of tokens.

The times add up: a step's parts run one after another. `RATES` are of one CPU thread while another one works, measured
by `make bench-lanes`. Only their ratios matter for the choice, which is the same on every machine, so that a plan gives
the same batches everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from phantom_dist.core.trial import Problem
from phantom_dist.engines.lanes.choice import LaneKind, kinds_of
from phantom_dist.models.size import ModelSize

Way = LaneKind | Literal["reference"]
"""How trials are trained: as lanes of a kind, or one after another on the reference engine."""

OPERATIONS = 5e10
"""Floating-point operations a second."""

BANDWIDTH = 8e9
"""Bytes a second."""

CALL_S = 0.6e-3
"""Seconds that Python and torch take for one unit of the column `calls`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What one trial-step takes: operations, bytes moved, and calls."""

    operations: float
    bytes: float
    calls: float

    @property
    def seconds(self) -> float:
        """Predicted time (s)."""
        return self.operations / OPERATIONS + self.bytes / BANDWIDTH + self.calls * CALL_S


def step_cost(way: Way, problem: Problem, size: ModelSize, tokens: int, lanes: int) -> Cost:
    """The cost of a trial-step, on average over a trial; see the module's docstring.

    Args:
        way: how the trial is trained.
        problem: what is trained.
        size: the model's dimensions.
        tokens: of a step: of the longest prompt, or of a batch of examples.
        lanes: how many are trained at the same time.
    """
    products, moved = size.body * tokens, (30 + 12 * problem.optimizer.state_size) * size.parameters
    block, pairs = size.layers * size.width, tokens * (problem.steps + 1) / 2
    match way:
        case "reference" if problem.method == "lora":
            return Cost(operations=4 * products, bytes=12 * size.parameters, calls=2 * size.layers)
        case "reference":
            return Cost(operations=6 * products, bytes=moved, calls=2 * size.layers)
        case "stacked":
            return Cost(operations=6 * products, bytes=moved, calls=2 * size.layers / lanes)
        case "dual":
            return Cost(
                operations=4 * products + 65 * block * tokens * pairs,
                bytes=8 * size.parameters / lanes + 130 * block * pairs,
                calls=6 * size.layers / lanes,
            )
        case "lora":
            return Cost(
                operations=4 * products, bytes=8 * size.parameters / lanes, calls=3 * size.layers / lanes
            )


def cheapest(problem: Problem, size: ModelSize, tokens: int, lanes: int) -> Way:
    """How so many trials are trained fastest; the reference trains what lanes don't support.

    Args:
        problem: what is trained.
        size: the model's dimensions.
        tokens: of a step.
        lanes: number of trials.
    """
    ways: tuple[Way, ...] = (*kinds_of(problem), "reference")
    return min(ways, key=lambda way: step_cost(way, problem, size, tokens, lanes).seconds)
