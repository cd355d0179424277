"""From the axes of a sweep to its problems, in a fixed order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from phantom_dist.core.trial import Optimizer, Precision, Problem
from phantom_dist.spec.methods import MethodEntry
from phantom_dist.spec.rates import Critical, CriticalSearch, LogRange
from phantom_dist.spec.schedules import ScheduleEntry
from phantom_dist.spec.sweep import SweepSpec


def expand(spec: SweepSpec) -> tuple[Problem, ...]:
    """Every problem of the sweep, once. The data of its `training` must have been read (`TrainingSettings.content`).

    The order: models outermost, then contexts, methods, optimizers, schedule, steps, seeds, precision, clipping; with
    `combine: zip` the last seven go side by side. Full fine-tuning uses no random numbers (no dropout, no
    initialisation), so only its first seed is expanded.
    """
    combinations = list(_combinations(spec))
    training_set = None if spec.training is None else spec.training.core()
    return tuple(
        dict.fromkeys(
            Problem(
                model=model,
                context=context,
                method=method.name,
                lora=method.adapters,
                optimizer=optimizer,
                schedule=schedule.core(steps),
                steps=steps,
                seed=seed if method.name == "lora" else spec.seeds[0],
                precision=precision,
                gradient_clipping=clipping,
                early_stopping=spec.early_stopping,
                thresholds=spec.thresholds,
                training=training_set,
            )
            for model, context in product(spec.models, spec.contexts)
            for (method, optimizer), schedule, steps, seed, precision, clipping in combinations
        )
    )


Combination = tuple[tuple[MethodEntry, Optimizer], ScheduleEntry, int, int, Precision, float | None]


def _combinations(spec: SweepSpec) -> Iterator[Combination]:
    """The ways of training: every combination of the axes' values, or the values side by side."""
    axes = (spec.schedule, spec.steps, spec.seeds, spec.precision, spec.gradient_clipping)
    if spec.combine == "product":
        yield from product(list(training(spec)), *axes)
        return
    length = max(map(len, (spec.methods, spec.optimizers, *axes)))
    methods, optimizers, *others = (
        [*axis] * (length // len(axis)) for axis in (spec.methods, spec.optimizers, *axes)
    )
    pairs = [
        (method, (method.optimizers or (entry,))[0].core())
        for method, entry in zip(methods, optimizers, strict=True)
    ]
    yield from zip(pairs, *others, strict=True)


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


def multiples_of(spec: SweepSpec) -> tuple[float, ...]:
    """The rates to train once a critical rate is found, as multiples of it."""
    rates = learning_rates_of(spec)
    return rates.multiples if isinstance(rates, Critical) else ()
