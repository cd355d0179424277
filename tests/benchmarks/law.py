"""The law on architectures that it was not fitted to, and the search that starts from it (`make bench-law`).

Errors: every number is found anew from the stored critical rates and path probes: the groups, the weights and the
intervals of each architecture's law without that architecture, and the simpler rules beside it. `make calibration`
measures the stored numbers anew.

Searches: real training on pairs of models and contexts of the zoo, drawn by a seed, in all three classes. Trial-steps
until two trials with opposite signs of g_T lie within 1 % (0.1 %) of each other, the path probe's counted; the others
start from Π between 1/4 and 4. A prediction comes from a law without the pair's architecture. None: not reached.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import statistics
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from phantom_dist.calibration.fit import outside_domain
from phantom_dist.core.measurement import Trial
from phantom_dist.core.trial import Problem
from phantom_dist.engines.probe import probe
from phantom_dist.engines.single import SingleEngine
from phantom_dist.law.calibration_row import CalibrationRow, by_training_class
from phantom_dist.law.closure import residuals, search
from phantom_dist.law.file import read_law
from phantom_dist.law.groups import first_order_rate, path_rate
from phantom_dist.law.law import Law, fit_training_class
from phantom_dist.law.validation import (
    LAW,
    RULES,
    HeldOutPrediction,
    Validation,
    leave_one_out,
    power_law,
    rule_errors,
    summary,
    validate,
)
from phantom_dist.models.load import load
from phantom_dist.refinement.sampler import CriticalRateSampler, ask, tell
from phantom_dist.spec import expand
from phantom_dist.spec import load as load_sweep
from tests.benchmarks import range_test

PAIRS = 24
STEPS = 8
TOLERANCES = (0.01, 0.001)
RANGE_TEST = "range test, rescaled"
MOST_TRIALS = 60
"""After which TPE and GP are stopped: 15 times what the root finder takes."""

console = Console(stderr=False, width=170)


def percent(value: float) -> str:
    """A share as a percentage."""
    return f"{100 * value:.2f}" if value < 10 else "> 1000"


def table(entries: list[Validation]) -> Table:
    """One row for each class, T and rule."""
    shown = Table(title="errors in %, architectures left out", title_justify="left")
    for column in ("class", "T", "rule"):
        shown.add_column(column)
    for column in (
        "contexts",
        "architectures",
        "context: median",
        "90th percentile",
        "worst",
        "architecture: median",
        "worst",
        "90 % intervals cover",
        "upper / lower end",
        "out of domain: cover",
    ):
        shown.add_column(column, justify="right")
    for entry in entries:
        errors, intervals = entry.errors, entry.intervals
        shown.add_row(
            entry.training_class,
            str(entry.steps),
            entry.rule,
            str(errors.contexts),
            str(errors.architectures),
            *(percent(getattr(errors, f"context_error_{which}")) for which in ("median", "p90", "max")),
            *(percent(getattr(errors, f"architecture_error_{which}")) for which in ("median", "max")),
            "" if intervals is None else percent(intervals.coverage_90),
            "" if intervals is None else f"{intervals.interval_width_median:.3f}",
            "" if intervals is None else outside_domain(intervals),
            end_section=entry.rule == RANGE_TEST,
        )
    return shown


def one_law(train: Sequence[CalibrationRow], test: Sequence[CalibrationRow]) -> NDArray[np.float64]:
    """A rule: one set of groups and weights for all classes, and a constant for each.

    The constant is the median of what the common closure leaves of a class's rows.
    """
    closure = search(train)
    left: dict[str, list[float]] = {}
    for row, rest in zip(train, residuals(train, closure), strict=True):
        left.setdefault(row.training_class, []).append(float(rest))
    constants = {name: statistics.median(values) for name, values in left.items()}
    return np.array(
        [
            math.log(path_rate(row.law_input))
            + closure.correction(row.law_input)
            + constants[row.training_class]
            for row in test
        ]
    )


def one_or_many(held: list[HeldOutPrediction], rows: Sequence[CalibrationRow]) -> Table:
    """One law per class beside one law with class constants."""
    shown = Table(title="one law per class, or one with class constants", title_justify="left")
    for column in ("class", "law", "context: median", "90th percentile", "architecture: median", "worst"):
        shown.add_column(column, justify="left" if column in ("class", "law") else "right")
    own = {id(h.row): h.error for h in held}
    errors = {
        "per class": np.array([own[id(row)] for row in rows]),
        "class constants": rule_errors(rows, one_law),
    }
    classes = np.array([row.training_class for row in rows])
    for name in np.unique(classes).tolist():
        mine = [row for row in rows if row.training_class == name]
        for label, values in errors.items():
            entry = summary(mine, values[classes == name])
            keys = (
                "context_error_median",
                "context_error_p90",
                "architecture_error_median",
                "architecture_error_max",
            )
            shown.add_row(name, label, *(percent(getattr(entry, key)) for key in keys))
    return shown


class Curve:
    """g_T(η) of one problem, trained for real; remembers what was tried."""

    def __init__(self, problem: Problem) -> None:
        self._loaded = load(problem.model)
        self.restart()
        self.measured = probe(self._loaded, problem)

    def restart(self) -> None:
        """Forget what was tried: another search begins."""
        self.tried: dict[float, float] = {}

    def __call__(self, rate: float) -> float:
        """g_T, logits; NaN where training left the finite numbers."""
        if rate not in self.tried:
            (result,) = SingleEngine().run(self._loaded, [Trial(measured=self.measured, learning_rate=rate)])
            self.tried[rate] = result.trace[-1].logit_gap
        return self.tried[rate]

    @property
    def width(self) -> float:
        """Relative width of the narrowest bracket: the lowest rate with g_T > 0 and the tried one below it."""
        rates = sorted(self.tried)
        for low, high in itertools.pairwise(rates):
            if self.tried[low] <= 0 < self.tried[high]:
                return high / low - 1
        return math.inf

    def until(self, step: Callable[[], bool]) -> dict[float, int | None]:
        """Trial-steps at which each tolerance was reached, while `step` returns True."""
        reached: dict[float, int | None] = dict.fromkeys(TOLERANCES)
        while any(value is None for value in reached.values()) and step():
            for tolerance in TOLERANCES:
                if reached[tolerance] is None and self.width <= tolerance:
                    reached[tolerance] = STEPS * len(self.tried)
        return reached


def ours(curve: Curve, law: Law, row: CalibrationRow) -> dict[float, int | None]:
    """The law's interval, then root finding; the path probe's trial-steps count."""
    predicted = law.predict(row.law_input)
    assert predicted.eta_c is not None
    assert predicted.interval is not None
    reached: dict[float, int | None] = {}
    for tolerance in TOLERANCES:
        curve.restart()
        measured = curve.measured
        sampler = CriticalRateSampler(
            gap_0=measured.gap_0,
            slope_0=row.law_input.effective_steps * measured.kappa,
            tolerance=tolerance,
            expected=(predicted.interval[0], predicted.eta_c, predicted.interval[1]),
        )
        study = optuna.create_study(sampler=sampler)
        while (trial := ask(study)) is not None:
            tell(study, trial, gap=curve(trial.params["learning_rate"]))
        done = curve.width <= tolerance * (1 + 1e-9)
        reached[tolerance] = round(STEPS * len(curve.tried) + row.probe_trial_steps) if done else None
    return reached


def bisection(curve: Curve, low: float, high: float) -> dict[float, int | None]:
    """Both ends, then halves of ln η."""
    ends = [low, high]

    def step() -> bool:
        if len(curve.tried) < 2:
            curve(ends[len(curve.tried)])
            return True
        middle = math.sqrt(ends[0] * ends[1])
        ends[0 if curve(middle) <= 0 else 1] = middle
        return True

    return curve.until(step) if curve(low) <= 0 < curve(high) else dict.fromkeys(TOLERANCES)


def optuna_on_size(curve: Curve, low: float, high: float, sampler: Any) -> dict[float, int | None]:
    """Minimise |g_T|."""
    study = optuna.create_study(sampler=sampler)

    def objective(trial: optuna.Trial) -> float:
        gap = curve(trial.suggest_float("learning_rate", low, high, log=True))
        return abs(gap) if math.isfinite(gap) else 1e3

    def step() -> bool:
        study.optimize(objective, n_trials=1)
        return len(study.trials) < MOST_TRIALS

    return curve.until(step)


def grid(curve: Curve, low: float, high: float) -> dict[float, int | None]:
    """40 rates at equal ratios."""
    rates = iter([low * (high / low) ** (k / 39) for k in range(40)])

    def step() -> bool:
        rate = next(rates, None)
        if rate is not None:
            curve(rate)
        return rate is not None

    return curve.until(step)


def searches(law: Law) -> dict[str, dict[float, list[int | None]]]:
    """Trial-steps of every way on every pair."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    problems = {
        p.key: p for p in expand(load_sweep(Path(__file__).parents[2] / "sweeps/calibration-zoo.yaml"))
    }
    possible = [row for row in law.rows if row.steps == STEPS and row.problem in problems]
    classes = sorted({row.training_class for row in possible})
    draw = random.Random(0)
    found: dict[str, dict[float, list[int | None]]] = {}
    for number in range(PAIRS):
        name = classes[number % len(classes)]
        row = draw.choice([row for row in possible if row.training_class == name])
        others = [r for r in law.rows if r.training_class == name and r.model != row.model]
        without = Law({name: fit_training_class(others)}, others)
        curve = Curve(problems[row.problem])
        first = first_order_rate(row.law_input)
        low, high = first / 4, first * 4
        ways: dict[str, Callable[[], dict[float, int | None]]] = {
            "ours": lambda c=curve, w=without, r=row: ours(c, w, r),
            "bisection": lambda c=curve, a=low, b=high: bisection(c, a, b),
            "tpe": lambda c=curve, a=low, b=high: optuna_on_size(c, a, b, optuna.samplers.TPESampler(seed=0)),
            "gp": lambda c=curve, a=low, b=high: optuna_on_size(c, a, b, optuna.samplers.GPSampler(seed=0)),
            "grid": lambda c=curve, a=low, b=high: grid(c, a, b),
        }
        for way, work in ways.items():
            curve.restart()
            for tolerance, steps in work().items():
                found.setdefault(way, {}).setdefault(tolerance, []).append(steps)
        console.print(f"[dim]{number + 1} of {PAIRS} pairs: {row.model} {row.context} {name}[/dim]")
    return found


def median(values: list[int | None]) -> float | None:
    """The median pair's, None where it doesn't get there."""
    value = statistics.median([math.inf if v is None else v for v in values])
    return value if math.isfinite(value) else None


def main() -> None:
    """Validate and print; the last line is one JSON object, its figures those of the worst class and T.

    `coverage_90`: of the class that is furthest from 90 % over all its T.
    """
    law = read_law()
    held = [h for members in by_training_class(law.rows).values() for h in leave_one_out(members)]
    ramped = json.loads(range_test.STORED.read_text())
    rules = {**RULES, RANGE_TEST: power_law(lambda row: math.log(ramped[row.problem]))}
    entries = validate(held, lambda name: console.print(f"[dim]{name} done[/dim]"), rules)
    console.print(table(entries))
    console.print(f"pairs without a critical rate, by reason: {law.dropped or 'none'}")
    console.print(one_or_many(held, law.rows))
    mine = [entry.to_json() for entry in entries if entry.rule == LAW]
    worst = {
        key: round(max(entry[key] for entry in mine), 5)
        for key in (
            "architecture_error_median",
            "architecture_error_max",
            "context_error_median",
            "context_error_p90",
            "interval_width_median",
        )
    }
    coverage = {
        name: round(statistics.fmean(e["coverage_90"] for e in mine if e["class"] == name), 4)
        for name in sorted({e["class"] for e in mine})
    }
    outside = [h for h in held if not h.in_domain]
    given = [abs(h.error) <= h.given for h in outside if h.given is not None]
    found = searches(law)
    shown = Table(title=f"trial-steps to a bracket, {PAIRS} pairs, T = {STEPS}", title_justify="left")
    for column in ("way", "1 %: median", "worst", "not reached", "0.1 %: median", "worst", "not reached"):
        shown.add_column(column, justify="left" if column == "way" else "right")
    for way, by_tolerance in found.items():
        cells: list[str] = []
        for tolerance in TOLERANCES:
            values = by_tolerance[tolerance]
            known = [v for v in values if v is not None]
            cells += [str(median(values)), str(max(known)) if known else "", str(len(values) - len(known))]
        shown.add_row(way, *cells)
    console.print(shown)
    print(
        json.dumps(
            worst
            | {
                "coverage_90": min(coverage.values(), key=lambda value: -abs(value - 0.9)),
                "coverage_90_by_class": coverage,
                "coverage_90_by_class_and_T": {
                    f"{e['class']}, {e['steps']}": round(e["coverage_90"], 4) for e in mine
                },
                "out_of_domain": len(outside),
                "out_of_domain_withheld": len(outside) - len(given),
                "out_of_domain_coverage_90": round(statistics.fmean(given), 4),
                "pairs_dropped": sum(law.dropped.values()),
                "rows": len(law.rows),
                "trial_steps_to_1pct": {way: median(v[0.01]) for way, v in found.items()},
                "trial_steps_to_0.1pct": {way: median(v[0.001]) for way, v in found.items()},
            }
        )
    )


if __name__ == "__main__":
    main()
