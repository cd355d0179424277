"""Newton's divided differences, with a slope at the first node.

f[x_i] = f(x_i), f[x_i … x_j] = (f[x_{i+1} … x_j] − f[x_i … x_{j−1}]) / (x_j − x_i). The polynomial through all nodes is
Σ_k f[x_0 … x_k] Π_{i<k} (x − x_i). The first node stands twice, and f[x_0, x_0] is the slope there.
Source: Stoer and Bulirsch, "Introduction to Numerical Analysis", 2.1.3 and 2.1.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def newton_form(
    nodes: Sequence[float], values: Sequence[float], slope: float
) -> tuple[list[float], list[float]]:
    """The nodes with the first one doubled, and f[x_0], f[x_0, x_0], f[x_0, x_0, x_1], …, as many.

    Args:
        nodes: x_0, x_1, …; different from each other.
        values: f at each.
        slope: f' at x_0.
    """
    places = [nodes[0], *nodes]
    differences = [values[0], *values]
    coefficients = [values[0]]
    for order in range(1, len(places)):
        differences = [
            slope if b == a else (after - before) / (b - a)
            for (before, after), a, b in zip(pairwise(differences), places, places[order:], strict=False)
        ]
        coefficients.append(differences[0])
    return places, coefficients
