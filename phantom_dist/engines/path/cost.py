"""Which trainings a path probe can walk, where it measures, and what it costs; plans ask, without torch."""

from __future__ import annotations

from dataclasses import dataclass

from phantom_dist.core.trial import Problem

LONG = 32
"""Trainings of more steps get more points."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WalkCost:
    """What the walk of an optimizer costs.

    Attributes:
        bytes_once, bytes_per_step: bytes that all walks of a probe move for each entry of a vector, and in addition for
            each step (measured on SmolLM2-135M).
        long_shares: shares of the effective steps after which a long full training is measured.
    """

    bytes_once: float
    bytes_per_step: float = 0.0
    long_shares: tuple[float, ...]


WALKED: dict[str, WalkCost] = {
    "sgd": WalkCost(bytes_once=270, long_shares=(0.3, 0.7, 1.0)),
    "adamw": WalkCost(bytes_once=250, bytes_per_step=14, long_shares=(0.25, 0.5, 0.75, 1.0)),
}
"""The optimizers whose path can be probed, by name (`probe.WALKS` has their walks). Under any other one, searches start
at first order."""


def can_be_walked(problem: Problem) -> bool:
    """Whether the path of a training can be probed. Not on training sets, which are predicted from first order."""
    return problem.training is None and can_be_predicted(problem)


def can_be_predicted(problem: Problem) -> bool:
    """Whether a law may predict a training's critical rate, from its path or, on a training set, from first order."""
    return problem.optimizer.name in WALKED


def unwalked(name: str) -> str:
    """The message for a request to probe the path under an optimizer that has no walk."""
    return (
        f"optimizer {name}: it can be trained, but its path can't be probed, so no law predicts its critical rate; "
        f"a search finds it. Predictions are for {', '.join(WALKED)}."
    )


def walked_bytes(problem: Problem) -> float:
    """Predicted bytes that the walks of a path probe move for each parameter of the model; not in the dual form."""
    # LoRA's vectors are negligible beside the model.
    cost = WALKED[problem.optimizer.name]
    return 0.0 if problem.method == "lora" else cost.bytes_once + cost.bytes_per_step * problem.steps


def shares(problem: Problem) -> tuple[float, ...]:
    """The shares of the effective steps T after which a gradient is measured.

    LoRA's first point is early: the gradient of its factor A is 0 at the start, so no earlier point shows it. The last
    point of a long training lies at or near the end, where AdamW's path bends most.
    """
    if problem.method == "lora":
        return (0.2, 0.65) if problem.steps <= LONG else (0.1, 0.35, 0.65, 0.9)
    if problem.steps <= LONG:
        return (0.4, 0.8)
    return WALKED[problem.optimizer.name].long_shares
