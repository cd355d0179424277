"""The remaining sum of learning rates, Σ η_s over the steps to come, computed from the schedule where possible."""

from __future__ import annotations

import dis
import functools
import math
import types
from itertools import pairwise
from typing import Any

POINTS = 512
"""At how many steps a schedule is evaluated; a longer one is integrated by trapezoids between them."""

AGREEMENT = 0.02
"""Largest difference between the schedule's rate and the optimizer's, relative to the peak, that is accepted."""

_BUILT_IN = frozenset({"abs", "float", "int", "max", "min", "pow", "round"})
_PLAIN = (int, float, str, bool, type(None))


class ScheduleAhead:
    """Evaluates the rest of a schedule by the functions of torch's `LambdaLR`, which transformers' schedules use.

    For any other schedule, and for one that disagrees with the optimizer, the rate is assumed to stay as it is. So it
    is for functions that may have side effects (`is_pure`): evaluating them ahead would change the training.

    Args:
        scheduler: the learning rate's scheduler, also inside a wrapper; None where there is none.
        total: optimizer steps of the whole training.
    """

    def __init__(self, scheduler: Any, total: int | None) -> None:
        self._total = total
        try:
            self._known = self._evaluate(getattr(scheduler, "scheduler", scheduler), total)
        except Exception:  # foreign code: the function may not expect this step
            self._known = []

    @staticmethod
    def _evaluate(scheduler: Any, total: int | None) -> list[tuple[int, float]]:
        lambdas, bases = getattr(scheduler, "lr_lambdas", None), getattr(scheduler, "base_lrs", None)
        if total is None or not lambdas or not bases:
            return []
        first = max(range(len(bases)), key=lambda i: bases[i])  # the group whose rate `rate_of` reads
        if not is_pure(lambdas[first]):
            return []
        stride = max(1, total // POINTS)
        steps = [*range(0, total, stride), total]
        return [(step, float(bases[first] * lambdas[first](step))) for step in steps]

    def left(self, step: int, learning_rate: float) -> float:
        """Σ η over the steps after `step`, whose rate is `learning_rate`; 0 where the training's length is unknown."""
        if self._total is None:
            return 0.0
        constant = learning_rate * max(self._total - step, 0)
        if not self._known or abs(self._at(step) - learning_rate) > AGREEMENT * self._peak:
            return constant
        ahead = [(step, learning_rate), *((s, rate) for s, rate in self._known if s > step)]
        return sum((b - a) * (rate_a + rate_b) / 2 for (a, rate_a), (b, rate_b) in pairwise(ahead))

    @property
    def _peak(self) -> float:
        return max(rate for _, rate in self._known)

    def _at(self, step: int) -> float:
        before = max((point for point in self._known if point[0] <= step), default=self._known[0])
        after = min((point for point in self._known if point[0] >= step), default=self._known[-1])
        if after[0] == before[0]:
            return before[1]
        part = (step - before[0]) / (after[0] - before[0])
        return before[1] + part * (after[1] - before[1])


def is_pure(function: Any) -> bool:
    """Whether a function has no side effects: a schedule of transformers, or one that uses only numbers and `math`."""
    if isinstance(function, functools.partial):
        given = [*function.args, *function.keywords.values()]
        return is_pure(function.func) and all(isinstance(value, _PLAIN) for value in given)
    if not isinstance(function, types.FunctionType):
        return False
    if str(function.__module__) == "transformers.optimization":
        return True
    code = function.__code__
    if any(isinstance(constant, types.CodeType) for constant in code.co_consts):
        return False
    captured = [cell.cell_contents for cell in function.__closure__ or ()]
    if not all(isinstance(value, _PLAIN) for value in captured) or _rebinds(code):
        return False
    return all(_is_plain_name(name, function.__globals__) for name in code.co_names)


def _rebinds(code: types.CodeType) -> bool:
    """Whether the function assigns to a `global` or `nonlocal` name."""
    free = set(code.co_freevars)
    return any(
        op.opname in ("STORE_GLOBAL", "DELETE_GLOBAL")
        or (op.opname in ("STORE_DEREF", "DELETE_DEREF") and op.argval in free)
        for op in dis.get_instructions(code)
    )


def _is_plain_name(name: str, names: dict[str, Any]) -> bool:
    if name in names:
        return names[name] is math or isinstance(names[name], _PLAIN) or is_pure(names[name])
    return name in _BUILT_IN or hasattr(math, name)
