"""Leave one architecture out: what the law, fitted without it, says of it; beside simpler rules, in one table.

Nested: which groups enter, their weights and the intervals are all found anew without the architecture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phantom_dist.law.closure import Closure, loss
from phantom_dist.law.groups import Row, first_order_rate, path_rate
from phantom_dist.law.law import ClassLaw, by_class, fit_class

Array = NDArray[np.float64]
Rule = Callable[[Sequence[Row], Sequence[Row]], Array]
"""Rows to fit to and rows to predict -> ln η_c of the latter."""


@dataclass(frozen=True, slots=True)
class Held:
    """One row that was predicted without its architecture.

    Attributes:
        row: what was measured.
        error: ln (measured / predicted).
        half_width: of the interval, in ln η_c, not widened by the scope guard; infinite where there is none.
        in_domain: what the scope guard of that law says of the row.
        given: half the interval that a prediction would have: widened outside the domain; None where it is withheld.
    """

    row: Row
    error: float
    half_width: float
    in_domain: bool
    given: float | None


def leave_one_out(rows: Sequence[Row], closure: Closure | None = None) -> list[Held]:
    """Every row of one class, predicted by a law that was fitted without its model (`closure` as in `fit_class`)."""
    held: list[Held] = []
    for model in sorted({row["model"] for row in rows}):
        law = fit_class([row for row in rows if row["model"] != model], closure)
        held += [judge(law, row) for row in rows if row["model"] == model]
    return held


def beats_core(held: Sequence[Held]) -> bool:
    """Whether a class's law did better than the unfitted core, everything found anew without each architecture."""
    models = np.array([h.row["model"] for h in held])
    core = np.array([math.log(h.row["eta_c"] / path_rate(h.row)) for h in held])
    return loss(np.array([h.error for h in held]), models) < loss(core, models)


HELD_OUT = ("held_out_eta_c", "held_out_interval")
"""Keys that a row of a law file has beside what was measured."""


def with_held_out(row: Row, held: Held) -> Row:
    """The row with what the law says of it without its architecture: `held_out_eta_c`, `held_out_interval`."""
    predicted, half = row["eta_c"] / math.exp(held.error), held.given
    interval = None if half is None else [predicted * math.exp(-half), predicted * math.exp(half)]
    return {**row, "held_out_eta_c": predicted, "held_out_interval": interval}


def judge(law: ClassLaw, row: Row) -> Held:
    """What a law that doesn't know a row's architecture says of it."""
    error = math.log(row["eta_c"] / path_rate(row)) - law.closure.correction(row)
    half = math.inf if law.interval is None else law.interval.half_width(row)
    in_domain = not law.domain.outside(row)
    return Held(row, error, half, in_domain, law.half_width(row, in_domain=in_domain))


def _constant(train: Sequence[Row], test: Sequence[Row]) -> Array:
    return power_law(lambda row: 0.0)(train, test)


def power_law(of: Callable[[Row], float]) -> Rule:
    """ln η_c = a + b f(row), for each T, by least squares."""

    def rule(train: Sequence[Row], test: Sequence[Row]) -> Array:
        predicted = np.empty(len(test))
        for steps in {row["steps"] for row in test}:
            mine = [row for row in train if row["steps"] == steps]
            x = np.array([[1.0, of(row)] for row in mine])
            y = np.array([math.log(row["eta_c"]) for row in mine])
            weights = np.linalg.lstsq(x, y, rcond=None)[0]
            for place, row in enumerate(test):
                if row["steps"] == steps:
                    predicted[place] = weights @ np.array([1.0, of(row)])
        return predicted

    return rule


RULES: dict[str, Rule] = {
    "path probe, unfitted": lambda train, test: np.array([math.log(path_rate(row)) for row in test]),
    "first order (Π = 1)": lambda train, test: np.array([math.log(first_order_rate(row)) for row in test]),
    "power law in parameters": power_law(lambda row: math.log(row["parameters"])),
    "power law in width": power_law(lambda row: math.log(row["width"])),
    "a constant": _constant,
}
"""What the law is held against; each is fitted without the architecture, as the law is."""


def rule_errors(rows: Sequence[Row], rule: Rule) -> Array:
    """ln (measured / predicted) of every row, its model left out; in the rows' order."""
    errors = np.empty(len(rows))
    for model in {row["model"] for row in rows}:
        test = [place for place, row in enumerate(rows) if row["model"] == model]
        train = [row for row in rows if row["model"] != model]
        predicted = rule(train, [rows[place] for place in test])
        errors[test] = np.array([math.log(rows[place]["eta_c"]) for place in test]) - predicted
    return errors


def summary(rows: Sequence[Row], errors: Array) -> dict[str, float]:
    """Errors as shares of η_c: over contexts, and of architectures' geometric means over contexts."""
    size = np.expm1(np.abs(errors))
    models = np.array([row["model"] for row in rows])
    by_model = np.array([math.expm1(abs(errors[models == model].mean())) for model in np.unique(models)])
    return {
        "contexts": len(rows),
        "architectures": len(by_model),
        "context_error_median": float(np.median(size)),
        "context_error_p90": float(np.quantile(size, 0.9)),
        "context_error_max": float(size.max()),
        "architecture_error_median": float(np.median(by_model)),
        "architecture_error_max": float(by_model.max()),
    }


def _outside(held: Sequence[Held]) -> dict[str, float | None]:
    """What became of the rows outside the domain; see `validate`."""
    covered = [abs(h.error) <= h.given for h in held if h.given is not None]
    return {
        "out_of_domain": len(held),
        "withheld": len(held) - len(covered),
        "coverage_out_of_domain": sum(covered) / len(covered) if covered else None,
    }


def validate(
    held: Sequence[Held],
    observer: Callable[[str], None] | None = None,
    rules: Mapping[str, Rule] = RULES,
) -> list[dict[str, Any]]:
    """One entry for each class, T and rule; the law's own entries have coverage and width (None: no intervals) as well.

    `coverage_90` and the width are those of plain intervals, over all contexts. `out_of_domain` counts contexts of
    which the law without their architecture says so; of these, `withheld` get no interval, and of the others'
    intervals, as they are given, the share `coverage_out_of_domain` holds the measured rate (None: there are none).

    Args:
        held: every row of some classes, as `leave_one_out` gives them.
        rules: what the law is held against.
        observer: told the name of each class that is done.
    """
    entries: list[dict[str, Any]] = []
    by_row = {id(h.row): h for h in held}
    for name, members in by_class([h.row for h in held]).items():
        others = {label: rule_errors(members, rule) for label, rule in rules.items()}
        for steps in sorted({row["steps"] for row in members}):
            places = [place for place, row in enumerate(members) if row["steps"] == steps]
            some = [members[place] for place in places]
            mine = [by_row[id(row)] for row in some]
            errors = np.array([h.error for h in mine])
            widths = np.array([h.half_width for h in mine])
            known = bool(np.isfinite(widths).all())
            entries.append(
                {"class": name, "steps": steps, "rule": "law"}
                | summary(some, errors)
                | {
                    "coverage_90": float((np.abs(errors) <= widths).mean()) if known else None,
                    "interval_width_median": float(np.median(np.exp(2 * widths))) if known else None,
                }
                | _outside([h for h in mine if not h.in_domain])
            )
            entries += [
                {"class": name, "steps": steps, "rule": label} | summary(some, values[places])
                for label, values in others.items()
            ]
        if observer is not None:
            observer(name)
    return entries
