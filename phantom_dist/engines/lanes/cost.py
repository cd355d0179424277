"""Predicts the time of a trial-step on the reference engine and as a lane of each kind; the cheapest trains.

With K tokens, B parameters in the matrices of the body, P in all, n layers of width d, L lanes and a trial of T steps,
a trial-step takes on average

                operations                      bytes moved                      layers called
    reference   6 B K, under LoRA 4 B K         (30 + 12 state) P + 260 P / T    n + n / T
                                                under LoRA 12 P
    stacked     6 B K                           (30 + 12 state) P + 400 P / T    (n + 6 n / T) / L
    dual        4 B K + 65 n d K² T / 2         8 P / L + 400 n d K T / 2        (n + 8 n / T) / L
    lora        4 B K                           (8 P + 40 P / T) / L             (0.9 n + 4 n / T) / L

The reference reads the weights twice, writes and reads their gradients, and updates the weights and the optimizer's
state; new memory for all that is slow to get. Dual and LoRA lanes share one reading of the weights, which need no
gradient. The factors of a llama block, d to 2.7 d wide, are multiplied with those of all earlier steps four times: 32 d
numbers for each pair of tokens. Fusing the model with lanes costs four to eight steps' calls, once for a batch.

The times add up, as a step's parts run one after another. The constants are those of one CPU thread, fitted to 300
timings of `tests.benchmarks.lane_grid` on SmolLM2-135M and two models of the zoo; most are met within a third. Only
ratios matter for the choice, which is the same on every CPU, so that a plan gives the same batches everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from phantom_dist.core.trial import Problem
from phantom_dist.engines.lanes.support import LANE_KINDS, LaneKind, kinds_of
from phantom_dist.models.size import ModelSize

Way = LaneKind | Literal["reference"]
"""How trials are trained: as lanes of a kind, or one after another on the reference engine."""

WAYS: tuple[Way, ...] = (*LANE_KINDS, "reference")

OPERATIONS = 7e10
"""Floating-point operations a second."""

BANDWIDTH = 2e10
"""Bytes a second."""

LAYER_S = 0.9e-3
"""Seconds in Python and torch's dispatch for a forward and a backward pass through one layer."""

LANE_S = 0.2e-3
"""Seconds of a lane's own Python: its measurement, its loss."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What one trial-step takes: operations, bytes moved, layers called."""

    operations: float
    bytes: float
    layers: float

    @property
    def seconds(self) -> float:
        """Predicted time (s)."""
        return self.operations / OPERATIONS + self.bytes / BANDWIDTH + self.layers * LAYER_S + LANE_S


def step_cost(way: Way, problem: Problem, size: ModelSize, tokens: int, lanes: int) -> Cost:
    """The cost of a trial-step, on average over a trial; see the module's docstring.

    Args:
        way: how the trial is trained.
        problem: what is trained.
        size: the model's dimensions.
        tokens: of a step: of the longest prompt, or of a batch of examples.
        lanes: how many are trained at the same time.
    """
    products, parameters, layers, steps = size.body * tokens, size.parameters, size.layers, problem.steps
    trained = (30 + 12 * problem.optimizer.state_size) * parameters
    pairs = layers * size.width * tokens * (steps + 1) / 2
    match way:
        case "reference" if problem.method == "lora":
            return Cost(operations=4 * products, bytes=12 * parameters, layers=layers * (1 + 1 / steps))
        case "reference":
            moved = trained + 260 * parameters / steps
            return Cost(operations=6 * products, bytes=moved, layers=layers * (1 + 1 / steps))
        case "stacked":
            moved = trained + 400 * parameters / steps
            return Cost(operations=6 * products, bytes=moved, layers=layers * (1 + 6 / steps) / lanes)
        case "dual":
            return Cost(
                operations=4 * products + 65 * pairs * tokens,
                bytes=8 * parameters / lanes + 400 * pairs,
                layers=layers * (1 + 8 / steps) / lanes,
            )
        case "lora":
            return Cost(
                operations=4 * products,
                bytes=(8 + 40 / steps) * parameters / lanes,
                layers=layers * (0.9 + 4 / steps) / lanes,
            )


WORTH_A_BATCH = 0.1
"""The part of the cost that a further batch must save: less can be an error of the prediction."""


def cheapest_cut(lengths: Sequence[int], cost: Callable[[int, int], float]) -> list[int]:
    """Sizes of the batches into which prompts are cut, each padded to its own longest.

    Cuts where that lowers the cost most, if it does so by more than `WORTH_A_BATCH`, and goes on in both parts.

    Args:
        lengths: tokens of the prompts, in ascending order.
        cost: of a batch, from the tokens of its longest prompt and the number of its prompts.
    """
    count = len(lengths)
    cuts = [n for n in range(1, count) if lengths[n - 1] < lengths[n]]
    split = {cut: cost(lengths[cut - 1], cut) + cost(lengths[-1], count - cut) for cut in cuts}
    best = min(split, key=split.__getitem__, default=None)
    if best is None or split[best] > (1 - WORTH_A_BATCH) * cost(lengths[-1], count):
        return [count]
    return cheapest_cut(lengths[:best], cost) + cheapest_cut(lengths[best:], cost)


LANES_SAVE = 0.95
"""Lanes train where they take less than this part of the reference's time: that needs less memory."""

LONE_GPU_PARAMETERS = 1e7
"""Parameters from which a single full lane is trained as a lane on a GPU."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Chooser:
    """Chooses how trials are trained.

    On a GPU lanes win by far (SmolLM2 on an H200, T = 8: 12 times the loop with 24 stacked lanes), and these constants
    say nothing about it: there the first kind of lanes that can trains them.

    Attributes:
        ways: those that are allowed.
        on_gpu: whether they are trained on a GPU.
    """

    ways: Sequence[Way] = WAYS
    on_gpu: bool = False

    def cheapest(self, problem: Problem, size: ModelSize, tokens: int, lanes: int) -> Way:
        """How so many trials are trained fastest; the reference trains what no allowed kind of lanes can.

        Args:
            problem: what is trained.
            size: the model's dimensions.
            tokens: of a step.
            lanes: number of trials.
        """
        kinds: list[Way] = [kind for kind in kinds_of(problem) if kind in self.ways]
        if not kinds:
            return "reference"
        if self.on_gpu:
            pays = lanes > 1 or problem.method == "lora" or size.parameters >= LONE_GPU_PARAMETERS
            return kinds[0] if pays or "reference" not in self.ways else "reference"
        seconds = {way: step_cost(way, problem, size, tokens, lanes).seconds for way in kinds}
        best = min(kinds, key=seconds.__getitem__)
        if "reference" in self.ways:
            alone = step_cost("reference", problem, size, tokens, lanes).seconds
            return best if seconds[best] < LANES_SAVE * alone else "reference"
        return best


AUTO = Chooser()
"""The choice among all ways on a CPU."""
