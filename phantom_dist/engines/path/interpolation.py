"""Polynomials through a few measured points; pure numerics."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from phantom_dist.core.divided_differences import newton_form

Function = Callable[[float], float]


def lagrange_weights(nodes: Sequence[float], x: float) -> list[float]:
    """Weights w_i with Σ w_i f(nodes_i) = f(x) for every polynomial f of degree below the number of nodes."""
    weights = []
    for i, node in enumerate(nodes):
        weight = 1.0
        for j, other in enumerate(nodes):
            if j != i:
                weight *= (x - other) / (node - other)
        weights.append(weight)
    return weights


def through(nodes: Sequence[float], values: Sequence[float], slope: float) -> Function:
    """The polynomial through the points with this slope at the first one (Newton's form, evaluated by Horner)."""
    places, coefficients = newton_form(nodes, values, slope)

    def value(x: float) -> float:
        result = 0.0
        for coefficient, place in zip(reversed(coefficients), reversed(places), strict=True):
            result = result * (x - place) + coefficient
        return result

    return value


def derivative(curve: Function, x: float, scale: float) -> float:
    """d curve / dx by a central difference; `scale` is a length over which the curve changes."""
    h = 1e-4 * scale
    return (curve(x + h) - curve(x - h)) / (2 * h)


def first_rise(curve: Function, low: float, high: float, *, parts: int = 200) -> float | None:
    """Where the curve first rises above 0 within [low, high], by scanning `parts` intervals and bisecting; or None."""
    edges = [low + (high - low) * part / parts for part in range(parts + 1)]
    for a, b in itertools.pairwise(edges):
        if curve(a) <= 0 < curve(b):
            for _ in range(60):
                middle = (a + b) / 2
                a, b = (middle, b) if curve(middle) <= 0 else (a, middle)
            return (a + b) / 2
    return None
