"""Leave-one-architecture-out validation of the law, compared with simpler rules.

It is nested: the choice of groups, their weights and the intervals are all refitted without the architecture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phantom_dist.law.calibration_row import CalibrationRow, HeldOutRate, by_training_class
from phantom_dist.law.closure import Closure, loss
from phantom_dist.law.groups import first_order_rate, path_rate
from phantom_dist.law.law import TrainingClassLaw, fit_training_class

Array = NDArray[np.float64]
Rule = Callable[[Sequence[CalibrationRow], Sequence[CalibrationRow]], Array]
"""(training rows, test rows) -> ln η_c of the test rows."""

LAW = "law"
"""The name of the law itself in the list of rules."""


@dataclass(frozen=True, slots=True)
class HeldOutPrediction:
    """The prediction for one row by a law fitted without the row's architecture.

    Attributes:
        row: the measured row.
        error: ln (measured / predicted).
        half_width: half-width of the interval in ln η_c, not widened outside the domain; infinite if there is none.
        in_domain: whether the row lies in that law's domain.
        given: the half-width that `predict` would report, widened outside the domain; None where it is withheld.
    """

    row: CalibrationRow
    error: float
    half_width: float
    in_domain: bool
    given: float | None

    def with_row(self) -> CalibrationRow:
        """The row with this prediction added."""
        predicted, half = self.row.eta_c / math.exp(self.error), self.given
        interval = None if half is None else (predicted * math.exp(-half), predicted * math.exp(half))
        return replace(self.row, held_out=HeldOutRate(eta_c=predicted, interval=interval))


def leave_one_out(rows: Sequence[CalibrationRow], closure: Closure | None = None) -> list[HeldOutPrediction]:
    """Predict every row of one training class by a law fitted without the row's model.

    Args:
        rows: rows of one training class.
        closure: as in `fit_training_class`.
    """
    predictions: list[HeldOutPrediction] = []
    for model in sorted({row.model for row in rows}):
        law = fit_training_class([row for row in rows if row.model != model], closure)
        predictions += [predict_held_out(law, row) for row in rows if row.model == model]
    return predictions


def beats_core(predictions: Sequence[HeldOutPrediction]) -> bool:
    """Whether a class's law has a lower held-out loss than the unfitted core."""
    models = np.array([p.row.model for p in predictions])
    core = np.array([math.log(p.row.eta_c / path_rate(p.row.law_input)) for p in predictions])
    return loss(np.array([p.error for p in predictions]), models) < loss(core, models)


def predict_held_out(law: TrainingClassLaw, row: CalibrationRow) -> HeldOutPrediction:
    """Predict a row by `law`, which was fitted without the row's architecture."""
    probed = row.law_input
    error = math.log(row.eta_c / path_rate(probed)) - law.closure.correction(probed)
    half = math.inf if law.interval is None else law.interval.half_width(probed)
    in_domain = not law.domain.outside(probed)
    return HeldOutPrediction(row, error, half, in_domain, law.half_width(probed, in_domain=in_domain))


def _constant(train: Sequence[CalibrationRow], test: Sequence[CalibrationRow]) -> Array:
    return power_law(lambda row: 0.0)(train, test)


def power_law(of: Callable[[CalibrationRow], float]) -> Rule:
    """The rule ln η_c = a + b f(row), fitted by least squares for each T."""

    def rule(train: Sequence[CalibrationRow], test: Sequence[CalibrationRow]) -> Array:
        predicted = np.empty(len(test))
        for steps in {row.steps for row in test}:
            mine = [row for row in train if row.steps == steps]
            x = np.array([[1.0, of(row)] for row in mine])
            y = np.array([math.log(row.eta_c) for row in mine])
            weights = np.linalg.lstsq(x, y, rcond=None)[0]
            for place, row in enumerate(test):
                if row.steps == steps:
                    predicted[place] = weights @ np.array([1.0, of(row)])
        return predicted

    return rule


RULES: dict[str, Rule] = {
    "path probe, unfitted": lambda train, test: np.array(
        [math.log(path_rate(row.law_input)) for row in test]
    ),
    "first order (Π = 1)": lambda train, test: np.array(
        [math.log(first_order_rate(row.law_input)) for row in test]
    ),
    "power law in parameters": power_law(lambda row: math.log(row.law_input.parameters)),
    "power law in width": power_law(lambda row: math.log(row.width)),
    "a constant": _constant,
}
"""Rules to compare the law with; like the law, each is fitted without the test architecture."""


def rule_errors(rows: Sequence[CalibrationRow], rule: Rule) -> Array:
    """ln (measured / predicted) of every row, with its model left out of the fit; in the order of the rows."""
    errors = np.empty(len(rows))
    for model in {row.model for row in rows}:
        test = [place for place, row in enumerate(rows) if row.model == model]
        train = [row for row in rows if row.model != model]
        predicted = rule(train, [rows[place] for place in test])
        errors[test] = np.array([math.log(rows[place].eta_c) for place in test]) - predicted
    return errors


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorSummary:
    """Relative errors of η_c: of single contexts, and of each architecture's geometric mean over its contexts."""

    contexts: int
    architectures: int
    context_error_median: float
    context_error_p90: float
    context_error_max: float
    architecture_error_median: float
    architecture_error_max: float


def summary(rows: Sequence[CalibrationRow], errors: Array) -> ErrorSummary:
    """Summarise errors, ln (measured / predicted), one for each row."""
    size = np.expm1(np.abs(errors))
    models = np.array([row.model for row in rows])
    by_model = np.array([math.expm1(abs(errors[models == model].mean())) for model in np.unique(models)])
    return ErrorSummary(
        contexts=len(rows),
        architectures=len(by_model),
        context_error_median=float(np.median(size)),
        context_error_p90=float(np.quantile(size, 0.9)),
        context_error_max=float(size.max()),
        architecture_error_median=float(np.median(by_model)),
        architecture_error_max=float(by_model.max()),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class IntervalSummary:
    """How often the law's intervals contain the measured rate.

    Attributes:
        coverage_90: coverage of the intervals without widening, over all contexts; None where there are none.
        interval_width_median: median ratio of upper to lower end of these intervals; None where there are none.
        out_of_domain: number of contexts outside the domain of the law fitted without their architecture.
        withheld: number of these that get no interval.
        coverage_out_of_domain: coverage of the (widened) intervals of the others; None where there are none.
    """

    coverage_90: float | None
    interval_width_median: float | None
    out_of_domain: int
    withheld: int
    coverage_out_of_domain: float | None


def _interval_summary(predictions: Sequence[HeldOutPrediction]) -> IntervalSummary:
    errors = np.array([p.error for p in predictions])
    widths = np.array([p.half_width for p in predictions])
    known = bool(np.isfinite(widths).all())
    outside = [p for p in predictions if not p.in_domain]
    covered = [abs(p.error) <= p.given for p in outside if p.given is not None]
    return IntervalSummary(
        coverage_90=float((np.abs(errors) <= widths).mean()) if known else None,
        interval_width_median=float(np.median(np.exp(2 * widths))) if known else None,
        out_of_domain=len(outside),
        withheld=len(outside) - len(covered),
        coverage_out_of_domain=sum(covered) / len(covered) if covered else None,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Validation:
    """The errors of one rule on one training class and T; `intervals` are those of the law, None for other rules."""

    training_class: str
    steps: int
    rule: str
    errors: ErrorSummary
    intervals: IntervalSummary | None

    def to_json(self) -> dict[str, Any]:
        """One flat JSON object with the keys of the summaries."""
        head = {"class": self.training_class, "steps": self.steps, "rule": self.rule}
        return head | asdict(self.errors) | ({} if self.intervals is None else asdict(self.intervals))


def validate(
    predictions: Sequence[HeldOutPrediction],
    observer: Callable[[str], None] | None = None,
    rules: Mapping[str, Rule] = RULES,
) -> list[Validation]:
    """One entry for each training class, T and rule, the law's own first.

    Args:
        predictions: all rows of one or more training classes, as returned by `leave_one_out`.
        observer: called with the name of each finished class.
        rules: the rules to compare the law with.
    """
    entries: list[Validation] = []
    by_row = {id(p.row): p for p in predictions}
    for name, members in by_training_class(p.row for p in predictions).items():
        others = {label: rule_errors(members, rule) for label, rule in rules.items()}
        for steps in sorted({row.steps for row in members}):
            places = [place for place, row in enumerate(members) if row.steps == steps]
            some = [members[place] for place in places]
            mine = [by_row[id(row)] for row in some]
            entries.append(
                Validation(
                    training_class=name,
                    steps=steps,
                    rule=LAW,
                    errors=summary(some, np.array([p.error for p in mine])),
                    intervals=_interval_summary(mine),
                )
            )
            entries += [
                Validation(
                    training_class=name,
                    steps=steps,
                    rule=label,
                    errors=summary(some, values[places]),
                    intervals=None,
                )
                for label, values in others.items()
            ]
        if observer is not None:
            observer(name)
    return entries
