"""Intervals by hierarchical conformal prediction, grouped by architecture.

A score is |ln (measured / predicted)| over what the row's difficulty lets one expect, taken on architectures that the
law was not fitted to. A new context of a new architecture has, with K architectures of N_k scores each, a score above
the 1 − α quantile of Σ_k Σ_i δ(score_ki) / ((K + 1) N_k) + δ(∞) / (K + 1) with probability at most α, if architectures
are exchangeable and so are the contexts within each (Lee, Barber and Willett 2023, arXiv 2306.06342). That guarantee
is for scores of one split; scores from leaving out one architecture at a time, as here, have it up to the difference
that one architecture makes to the fit, so the coverage is measured as well (`validation`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phantom_dist.law.calibration_row import CalibrationRow
from phantom_dist.law.groups import difficulty
from phantom_dist.law.law_input import LawInput

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """ln-half-width = quantile x exp(weights · difficulty(probed))."""

    weights: tuple[float, ...]
    quantile: float

    def half_width(self, probed: LawInput) -> float:
        """Of ln η_c."""
        expected = sum(w * x for w, x in zip(self.weights, difficulty(probed), strict=True))
        return self.quantile * math.exp(expected)


def conformal(rows: Sequence[CalibrationRow], errors: Array, level: float) -> Interval | None:
    """From errors that each row's law made without its architecture; None where there are too few architectures.

    Args:
        rows: of one training class.
        errors: ln (measured / predicted), one a row.
        level: 1 − α.
    """
    design = np.array([difficulty(row.law_input) for row in rows])
    size = np.abs(errors) + 5e-4  # an error below the brackets' own width is luck
    scale = np.sqrt((design**2).mean(0)) + 1e-12
    x = design / scale
    weights = (
        np.linalg.solve(x.T @ x + 1e-2 * len(rows) * np.eye(x.shape[1]) * 0.1, x.T @ np.log(size)) / scale
    )
    scores = size / np.exp(design @ weights)
    counts = Counter(row.model for row in rows)
    mass = np.array([1 / ((len(counts) + 1) * counts[row.model]) for row in rows])
    order = np.argsort(scores)
    reached = np.cumsum(mass[order])
    enough = np.flatnonzero(reached >= level - 1e-12)
    return Interval(tuple(weights.tolist()), float(scores[order][enough[0]])) if len(enough) else None
