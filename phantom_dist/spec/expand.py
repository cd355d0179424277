"""From the axes of a sweep to its problems, in a fixed order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from phantom_dist.core.trial import Optimizer, Problem
from phantom_dist.spec.methods import MethodEntry
from phantom_dist.spec.rates import Critical, CriticalSearch, LogRange
from phantom_dist.spec.sweep import SweepSpec


def expand(spec: SweepSpec) -> tuple[Problem, ...]:
    """Every problem of the sweep, once.

    The order: models outermost, then contexts, methods, optimizers, schedule, steps, seeds, precision, clipping.
    Full fine-tuning uses no random numbers (no dropout, no initialisation), so only its first seed is expanded.
    """
    problems: list[Problem] = []
    for model, context in product(spec.models, spec.contexts):
        for method, optimizer in training(spec):
            seeds = spec.seeds if method.name == "lora" else spec.seeds[:1]
            for schedule, steps, seed, precision, clipping in product(
                spec.schedule, spec.steps, seeds, spec.precision, spec.gradient_clipping
            ):
                problem = Problem(
                    model=model,
                    context=context,
                    method=method.name,
                    lora=method.adapters,
                    optimizer=optimizer,
                    schedule=schedule.core(steps),
                    steps=steps,
                    seed=seed,
                    precision=precision,
                    gradient_clipping=clipping,
                    thresholds=spec.thresholds,
                )
                problems.append(problem)
    return tuple(problems)


def training(spec: SweepSpec) -> Iterator[tuple[MethodEntry, Optimizer]]:
    """The pairs of method and optimizer: a method's own optimizers if it names any, else the sweep's."""
    for method in spec.methods:
        for entry in method.optimizers or spec.optimizers:
            yield method, entry.core()


def learning_rates_of(spec: SweepSpec) -> tuple[float, ...] | Critical:
    """The learning rates of every problem, in the order of the file, or the search for the critical one."""
    match spec.learning_rates:
        case CriticalSearch(critical=search):
            return search
        case LogRange(values=values):
            return values
        case rates:
            return rates


def tolerance_of(spec: SweepSpec) -> float | None:
    """The relative width of the bracket at which a search ends; None for given learning rates."""
    rates = learning_rates_of(spec)
    return rates.tolerance if isinstance(rates, Critical) else None
