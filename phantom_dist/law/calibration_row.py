"""A measured critical rate, to which laws are fitted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from phantom_dist.core.problem_columns import ProblemColumns
from phantom_dist.law.law_input import LawInput


@dataclass(frozen=True, kw_only=True, slots=True)
class HeldOutRate:
    """The prediction for a row by a law fitted without its architecture; no interval where the law withholds it."""

    eta_c: float
    interval: tuple[float, float] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationRow(ProblemColumns):
    """A problem whose critical rate was measured and whose path was probed.

    Attributes:
        problem: key of the problem (`Problem.key`).
        eta_c: the measured critical rate, inside its `bracket` of two tried learning rates.
        weights: sha256 of the model.
        width: d, columns of the readout matrix.
        law_input: the inputs of the formula.
        probe_trial_steps: cost of the probe, in trial-steps.
        held_out: the prediction by a law fitted without the row's architecture; None before such a fit.
        keys: the keys of the row in its law file, in their order; older files have fewer. A law file must be written
            back unchanged, because prediction files identify their law by its digest.
    """

    problem: str
    eta_c: float
    bracket: tuple[float, float]
    weights: str
    width: int
    law_input: LawInput
    probe_trial_steps: float
    held_out: HeldOutRate | None
    keys: tuple[str, ...]


def by_training_class(rows: Iterable[CalibrationRow]) -> dict[str, list[CalibrationRow]]:
    """Rows grouped by training class, in a fixed order."""
    groups: dict[str, list[CalibrationRow]] = {}
    for row in sorted(rows, key=lambda r: (r.training_class, r.model, r.steps, r.context)):
        groups.setdefault(row.training_class, []).append(row)
    return groups
