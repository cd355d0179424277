"""Newton's divided differences, with a slope at the first node.

f[x_i] = f(x_i), f[x_i … x_j] = (f[x_{i+1} … x_j] − f[x_i … x_{j−1}]) / (x_j − x_i). The polynomial through all nodes is
Σ_k f[x_0 … x_k] Π_{i<k} (x − x_i). The first node occurs twice, and f[x_0, x_0] = f'(x_0).
Source: Stoer and Bulirsch, "Introduction to Numerical Analysis", 2.1.3 and 2.1.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def newton_form(
    nodes: Sequence[float], values: Sequence[float], slope: float
) -> tuple[list[float], list[float]]:
    """Nodes and coefficients of the interpolating polynomial in Newton's form, both of length len(nodes) + 1.

    Args:
        nodes: x_0, x_1, …; pairwise different.
        values: f(x_0), f(x_1), ….
        slope: f'(x_0).

    Returns:
        The nodes x_0, x_0, x_1, …, and the coefficients f[x_0], f[x_0, x_0], f[x_0, x_0, x_1], ….
    """
    doubled = [nodes[0], *nodes]
    differences = [values[0], *values]
    coefficients = [values[0]]
    # One column of the scheme of divided differences after another; its first entry is the next coefficient.
    for order in range(1, len(doubled)):
        differences = [
            slope if b == a else (after - before) / (b - a)
            for (before, after), a, b in zip(pairwise(differences), doubled, doubled[order:], strict=False)
        ]
        coefficients.append(differences[0])
    return doubled, coefficients
